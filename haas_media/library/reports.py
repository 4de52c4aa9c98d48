"""What the reports of the library's operations have in common."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _typeshed import DataclassInstance

MOST_LISTED = 200


def plain_json(report: DataclassInstance) -> dict[str, Any]:
    """Return everything a report says as JSON takes it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(report), default=str))
    return plain


def escaped(text: str) -> str:
    """Return a text so that Markdown shows it as it is, in one line."""
    for char in "\\`*_[]<>|#":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows that have the same keys as a Markdown table; numbers to the right."""
    if not rows:
        return []
    head = list(rows[0])
    right = [isinstance(rows[0][name], int | float) for name in head]
    return [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(" ---: " if r else " --- " for r in right) + "|",
        *("| " + " | ".join(escaped(str(row[name])) for name in head) + " |" for row in rows),
    ]


def markdown_list(title: str, items: Sequence[str]) -> list[str]:
    """Return a heading with a list below it; nothing for an empty one."""
    if not items:
        return []
    lines = ["", f"## {escaped(title)}", "", *(f"- {escaped(i)}" for i in items[:MOST_LISTED])]
    if len(items) > MOST_LISTED:
        lines.append(f"- … and {len(items) - MOST_LISTED} more")
    return lines
