"""Reports as JSON and as Markdown."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, cast

from haas_media.wording import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_LISTED = 200
_MARKS = re.compile(r"[\\`*_\[\]<>|#&~]")
_MARKS_OF_LISTS = re.compile(r"^(?:(\d+)(?=[.)](?: |$))|(?=[-+]))")  # at the beginning


class Report:
    """What an operation did, as plain data and as text; its dataclass holds the data."""

    heading: ClassVar[str]

    def counts(self) -> dict[str, int]:
        """Return all counts, flat, for the attributes of a span."""
        raise NotImplementedError

    def summary(self) -> str:
        """Say in a sentence what was done."""
        raise NotImplementedError

    def table(self) -> list[dict[str, Any]]:
        """Return the rows of a table; those of one have the same keys."""
        return [self.counts()]

    def before_table(self) -> list[str]:
        """Return lines of Markdown that follow the summary."""
        return []

    def after_table(self) -> list[str]:
        """Return lines of Markdown that follow the table."""
        return []

    def to_markdown(self) -> str:
        """Return the report as Markdown, for an artifact or a terminal."""
        lines = [f"# {self.heading}", "", escaped(self.summary()), ""]
        if before := self.before_table():
            lines += [*before, ""]
        return "\n".join([*lines, *markdown_table(self.table()), *self.after_table()]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(cast("Any", self)), default=str))
        return plain


def escaped(text: str) -> str:
    """Return a text so that Markdown shows it as it is, in one line."""
    text = _MARKS.sub(r"\\\g<0>", clean_text(text))
    return _MARKS_OF_LISTS.sub(r"\1\\", " ".join(text.split()))


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


def markdown_list(title: str, items: Sequence[object]) -> list[str]:
    """Return a heading with a list below it; nothing for an empty one."""
    if not items:
        return []
    lines = ["", f"## {escaped(title)}", "", *(f"- {escaped(str(i))}" for i in items[:MOST_LISTED])]
    if len(items) > MOST_LISTED:
        lines.append(f"- … and {len(items) - MOST_LISTED} more")
    return lines
