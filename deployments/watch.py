"""``haas watch``: what changes in a library is in the catalog seconds later.

Changes are seen by threads, one for the disks that tell of changes and one for those that have to
be polled. A path that has come to rest waits in a file (``Waiting``) until a scan of it has ended:
it is handed to the server as an event, a trigger makes a run of that, and the next event goes out
when that run is over. So a burst is few runs, and nothing is lost while a scan runs, the worker is
away, or the server or this process is started anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from deployments.filesystems import network_filesystem
from deployments.handover import Handover
from deployments.server import require_configured
from haas_media.identification.kinds import classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from haas_media.settings import Library, Settings

log = logging.getLogger("haas.watch")

REST_SECONDS = 3.0
TICK_SECONDS = 0.25
GATHER_SECONDS = 1.0  # what comes to rest within this time goes out together ...
HOLD_SECONDS = 5.0  # ... but nothing waits longer for that
# With more changes at a time, of some four events each, the system's queue of 16,384 may have
# overflowed: it drops what comes then, and nobody tells.
MAX_AT_ONCE = 4_000
POLL_SECONDS = 30.0  # between two looks at a disk that tells nothing
RETRY_SECONDS = 30.0
_LIMIT = (
    "The system watches no more folders: {}. Those of {} are looked at every {:.0f} s instead. "
    "To see changes at once, raise the limit: sudo sysctl fs.inotify.max_user_watches=1048576"
)


class Notice(NamedTuple):
    """A path that may have changed; ``ready`` if it is known to be whole.

    ``traceparent`` is the W3C trace context of whoever told of it.
    """

    path: str
    traceparent: str | None = None
    ready: bool = False


def run(settings: Settings, listen: str | None) -> None:
    """Watch until SIGTERM or Ctrl-C.

    Args:
        settings: which libraries there are, and where state goes.
        listen: the address at which webhooks are taken, if not the one in the settings.

    Raises:
        ServerError: no server is set.
        WebhookError: the address cannot be listened at.
    """
    from deployments import webhooks

    require_configured()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    stop, notices = Event(), SimpleQueue[Notice]()
    if listen := listen or settings.watch.listen:
        log.info("Webhooks go to %s", webhooks.listen(settings, listen, notices))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if not settings.libraries:
        log.warning("There is nothing to watch: the settings name no library.")
    watch(settings, stop, notices)


def watch(settings: Settings, stop: Event, notices: SimpleQueue[Notice]) -> None:
    """Hand on what changes in the libraries, until told to stop.

    Args:
        settings: which libraries there are, and where state goes.
        stop: set when this is to end.
        notices: where others, such as a listener, put paths.
    """
    handover = Handover(settings)
    for library in settings.libraries:
        Thread(target=_see, args=(library, notices, stop), daemon=True).start()
    resting = Resting()
    while not stop.wait(TICK_SECONDS):
        with contextlib.suppress(Empty):
            while True:
                resting.notice(notices.get_nowait())
        for notice in resting.take():
            handover.add(notice.path, notice.traceparent)
        handover.remember(resting.paths)
        if not resting.soon(GATHER_SECONDS) or handover.waited() > HOLD_SECONDS:
            handover.step()


def _see(library: Library, notices: SimpleQueue[Notice], stop: Event) -> None:
    """Note what changes in one library, for good; one whose disk is away is waited for."""
    root = str(library.path)
    poll, said = network_filesystem(library.path) is not None, ""
    while not stop.is_set():
        before = _identity(root)
        try:
            seen = _changes(root, stop, poll=poll)
            for number, changes in enumerate(seen):
                if number == 0:
                    _check(root, poll=poll)
                    log.info("Watching %s: %s%s", library.title, root, " (polled)" if poll else "")
                    # What changed while nobody watched.
                    notices.put(Notice(root, ready=True))
                for _, path in changes:
                    notices.put(Notice(path))
                if len(changes) > MAX_AT_ONCE:
                    notices.put(Notice(root, ready=True))
                if _identity(root) != before:
                    break  # another disk is there, or none, and nothing tells of it
        except OSError as error:
            if not poll and "limit" in str(error):
                log.warning(_LIMIT.format(error, library.title, POLL_SECONDS))
                poll = True
                continue
            if str(error) != said:
                log.warning("%s cannot be watched until it is back: %s", library.title, error)
            said = str(error)
            stop.wait(RETRY_SECONDS)


def _changes(root: str, stop: Event, *, poll: bool, **options: Any) -> Iterator[set[Any]]:
    """Yield what changes below a folder, and nothing each second."""
    from watchfiles import watch

    wanted: dict[str, Any] = {"ignore_permission_denied": True, **options}
    return watch(
        root,
        watch_filter=None,
        debounce=200,
        rust_timeout=1000,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
        force_polling=poll,
        poll_delay_ms=int(POLL_SECONDS * 1000),
        **wanted,
    )


def _check(root: str, *, poll: bool) -> None:
    """Watch one folder more: where that fails, folders have been left out, of which nothing tells.

    Told to ignore folders that nobody may read, the library says nothing of the system's limit and
    of a root that is not there either.

    Raises:
        OSError: the limit is reached, or the root is not there.
    """
    next(_changes(root, Event(), poll=poll, recursive=False, ignore_permission_denied=False))


def _identity(root: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(root)  # noqa: PTH116 - called each second
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


class Resting:
    """Paths that were noticed, until they are whole: a file that is written changes on and on."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Notice, tuple[int, int] | None, float]] = {}
        self._ready: list[Notice] = []

    @property
    def paths(self) -> Iterable[str]:
        """Those that are not yet at rest."""
        return self._seen.keys()

    def notice(self, notice: Notice) -> None:
        """Take a path; a folder that is new stands for the files in it."""
        path = notice.path
        if notice.ready:
            self._ready.append(notice)
        elif os.path.isdir(path):  # noqa: PTH112 - a disk that does not answer raises there
            for folder, folders, files in os.walk(path):
                folders[:] = [name for name in folders if name[0] != "."]
                for name in files:
                    self.notice(Notice(f"{folder}/{name}", notice.traceparent))
        elif _matters(path):
            shape = _shape(path)
            age = time.time() - shape[1] / 1e9 if shape else REST_SECONDS
            # One that was moved in has been whole for long.
            since = time.monotonic() - max(0.0, min(age, REST_SECONDS))
            self._seen[path] = notice, shape, since

    def take(self) -> list[Notice]:
        """Return those that have come to rest."""
        now = time.monotonic()
        for path, (notice, shape, since) in list(self._seen.items()):
            current = _shape(path)
            if current != shape:
                self._seen[path] = notice, current, now
            elif now - since >= REST_SECONDS:
                del self._seen[path]
                self._ready.append(notice)
        taken, self._ready = self._ready, []
        return taken

    def soon(self, seconds: float) -> bool:
        """Tell whether another one may come to rest within this time."""
        now = time.monotonic()
        return any(since + REST_SECONDS <= now + seconds for _, _, since in self._seen.values())


def _matters(path: str) -> bool:
    name = path.rpartition("/")[2]
    # What is gone may have been a folder.
    return name[:1] != "." and (classify(name) != "other" or not os.path.lexists(path))


def _shape(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - called for each path on each look
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
