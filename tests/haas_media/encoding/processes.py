"""A run of ``encode`` in a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waits import PATIENCE, wait_until

if TYPE_CHECKING:
    import signal

# As a flow run's process: SIGTERM raises an exception that is no Exception in the main thread.
DRIVER = """
import json, signal, sys
from pathlib import Path
from haas_media.encoding import EncodeRequest, EncodingError, encode

class TerminationSignal(BaseException):
    pass

def terminate(*_):
    raise TerminationSignal

signal.signal(signal.SIGTERM, terminate)
source, output, values, ffmpeg, register = sys.argv[1:]
try:
    print("ready", flush=True)
    encode(
        EncodeRequest(source=source, output=output, **json.loads(values)),
        roots=[Path(output).parent],
        ffmpeg=ffmpeg or None,
        register=Path(register) if register else None,
    )
except TerminationSignal:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("terminated", flush=True)
    raise SystemExit(143)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
except EncodingError as error:
    print("failed:", error, flush=True)
    raise SystemExit(1)
print("done", flush=True)
"""


class Run:
    """A process that encodes ``source`` to ``output``, ready to begin."""

    def __init__(
        self,
        source: Path,
        output: Path,
        ffmpeg: str = "",
        register: Path | str = "",
        **values: Any,
    ) -> None:
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, source, output, json.dumps(values), ffmpeg, register],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def wait_until_at_work(self) -> tuple[int, int]:
        """Wait until ffmpeg writes; give the process ids of its guard and of itself."""
        wait_for(lambda: len(hidden(self.output.parent)) == 2 and len(self._encoders()) == 2)
        guard, ffmpeg = sorted(self._encoders())
        return guard, ffmpeg

    def _encoders(self) -> list[int]:
        return mentioning(str(self.output.parent))

    def end(self, number: signal.Signals) -> str:
        """Send a signal, and wait until the run and all that it started are gone."""
        self.send(number)
        said = self.finish()
        wait_until_gone(str(self.output.parent))
        return said

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it is over already."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def finish(self) -> str:
        """Wait for the end; give what the process said."""
        out, err = self.process.communicate(timeout=PATIENCE)
        assert "Traceback" not in err, err
        return out


def mentioning(text: str) -> list[int]:
    """List the living processes, other than drivers, whose command mentions a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if text.encode() in command and b"TerminationSignal" not in command:
                found.append(int(entry.name))
    return found


def commands(text: str) -> str:
    """Give the commands of all processes that mention a text."""
    found = b""
    for process in mentioning(text):
        with contextlib.suppress(OSError):
            found += Path(f"/proc/{process}/cmdline").read_bytes()
    return found.decode(errors="replace")


# What is waited for may not be so for long.
wait_for = partial(wait_until, interval=0.005)


def wait_until_gone(text: str) -> None:
    """Wait until no process mentions the text: sooner than anything here ends by itself."""
    wait_for(lambda: not mentioning(text))


class Watcher:
    """Looks at a file as often as it can, and notes every state in which it was seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen = {state(path)}

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.seen.add(state(self._path))

    def _watch(self) -> None:
        while not self._stop.wait(0.0005):
            self.seen.add(state(self._path))


def state(path: Path) -> tuple[int, int] | None:
    """Tell which file has a name, and how long it is."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size


def hidden(folder: Path) -> list[str]:
    """List the hidden files in a folder: partial files and their locks."""
    return [name for name in names(folder) if name.startswith(".")]


def names(folder: Path) -> list[str]:
    """List all that is in a folder."""
    return sorted(path.name for path in folder.iterdir())
