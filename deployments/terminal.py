"""What the commands write to the terminal: steps, runs, problems."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE_WIDTH = 22


class Step:
    """A line of a list of steps: what is being done, then what came of it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.text = ""
        self.mark = "[green]✓[/]"

    def done(self, text: str) -> None:
        """Say what came of it."""
        self.text = text

    def line(self) -> str:
        """Return the line, as markup."""
        seconds = time.monotonic() - self.started
        took = f"  [dim]{seconds:.1f} s[/]" if seconds >= 0.1 else ""
        return f" {self.mark} {escape(self.title):<{TITLE_WIDTH}} {escape(self.text)}{took}"


class Terminal:
    """Standard output for people. Spinners and colours only where they can be seen."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    @property
    def interactive(self) -> bool:
        """Whether somebody watches."""
        return self.console.is_terminal

    def say(self, text: Any = "") -> None:
        """Print text, or anything that rich can render; lines of plain text are never broken."""
        self.console.print(text, soft_wrap=isinstance(text, str | Text))

    def indented(self, text: Text | str, by: int = 3) -> None:
        """Print text with each line moved to the right."""
        whole = Text(text) if isinstance(text, str) else text
        for line in whole.split("\n"):
            self.say(Text(" " * by) + line)

    def title(self, text: str) -> None:
        """Print a heading."""
        self.console.print(f"\n[bold]{escape(text)}[/]\n")

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show that something is under way, then its line."""
        step = Step(title)
        spinning: Any = contextlib.nullcontext()
        if self.interactive:
            spinning = self.console.status(f"{title} …", spinner="dots")
        try:
            with spinning:
                yield step
        except BaseException:
            step.mark = "[red]✗[/]"
            self._print(step)
            raise
        self._print(step)

    def _print(self, step: Step) -> None:
        self.console.print(step.line(), soft_wrap=not self.interactive)


def addresses(rows: dict[str, str]) -> Text:
    """Return lines of names and what they are; never broken, so that they can be copied."""
    widest = max(map(len, rows))
    lines = Text()
    for position, (name, value) in enumerate(rows.items()):
        lines.append("\n   " if position else "   ")
        lines.append(f"{name:<{widest}}", "dim")
        lines.append(f"   {value}".replace("\n", "\n" + " " * (widest + 6)))
    return lines


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGHUP into what Ctrl-C raises, so that everything is ended in order.

    What is yielded takes the signals that come.
    """
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by `nohup`
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
