"""Reports of runs, as a terminal shows them best."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE = 7  # a table with more columns than this is turned, so that it fits


def prose_of(markdown: str) -> str:
    """Return a report's text without its heading, its tables and its listings of commands."""
    text = re.sub(r"(?ms)^[^\n]*:\n\n```.*?^```$", "", markdown)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "# "))]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a report's table; turned on its side when it is wide, without lines of zeros."""
    if len(rows[0]) <= WIDE:
        return _upright([*rows[0]], [[*row.values()] for row in rows])
    head, *names = rows[0]
    kept = [name for name in names if any(row[name] for row in rows)]
    body = [[name.replace("_", " "), *(row[name] for row in rows)] for name in kept]
    return _upright(["", *(str(row[head]) for row in rows)], body)


def _upright(head: list[str], body: list[list[Any]]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for position, name in enumerate(head):
        numbers = all(isinstance(row[position], int | float) for row in body)
        table.add_column(escape(name), justify="right" if numbers else "left", overflow="fold")
    for row in body:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table
