"""Run ``haas demo`` on a terminal of its own and draw what it shows.

    python docs/capture.py docs/demo.svg

The picture ends where the first run's report does; the demo itself runs to its end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 98, 50
STOP = "Encode a film"
CONTROL = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])")


def run(directory: Path) -> str:
    """Run the demo; return everything it wrote to its terminal."""
    haas = str(Path(sys.executable).with_name("haas"))
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        os.environ["TERM"] = "xterm-256color"
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        os.execv(haas, ["haas", "demo"])  # noqa: S606 - no shell is wanted
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the terminal of a process that has ended
            break
        if not part:
            break
        written += part
        if b"Press Ctrl-C" in part:
            os.write(terminal, b"\x03")
    os.waitpid(child, 0)
    return written.decode()


def settled(written: str) -> list[str]:
    """Return the lines as they stand at the end, after everything that was drawn over."""
    lines, at = [""], 0
    for piece in re.split(r"(\r|\n|\x1b\[\??[\d;]*[A-Za-z])", written):
        control = CONTROL.fullmatch(piece)
        if piece == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif control and control[3] == "A":
            at -= int(control[2] or 1)
        elif control and control[3] == "K":
            lines[at] = ""
        elif piece != "\r" and not (control and control[3] != "m"):
            lines[at] += piece
    return lines


def draw(lines: list[str], picture: Path) -> None:
    """Draw lines of a terminal; fonts are the reader's own, nothing is fetched."""
    console = Console(record=True, width=WIDTH, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text.from_ansi("\n".join(lines)))
    svg = console.export_svg(title="haas demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    picture.write_text(svg.replace("Fira Code,", "ui-monospace, Menlo, Consolas,"))


def main() -> None:
    """Draw the demo into the file that is named."""
    with tempfile.TemporaryDirectory() as directory:
        lines = settled(run(Path(directory)))
    end = next(number for number, line in enumerate(lines) if STOP in line)
    draw([line.rstrip() for line in lines[:end]], Path(sys.argv[1]))


if __name__ == "__main__":
    main()
