"""Spans without a changed line: Prefect's own tasks and flows, instrumented as they are made.

    opentelemetry-instrument prefect worker start --pool ...

or, before the first task is made, ``PrefectTaskInstrumentor().instrument()``.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from prefect.flows import Flow
from prefect.tasks import MaterializingTask, Task

from haas_otel import span
from haas_otel.decorators import BackgroundFlow, BackgroundMaterializingTask, BackgroundTask

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["PrefectTaskInstrumentor"]

# What instances of a class of Prefect's are turned into.
_KINDS: dict[type, type] = {
    Task: BackgroundTask,
    MaterializingTask: BackgroundMaterializingTask,
    Flow: BackgroundFlow,
}


class PrefectTaskInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Gives every run of a task that is made from now on its span, and its flow the hooks for it.

    ``instrument`` takes a ``tracer_provider``; without one the spans go to the one that is set, or,
    when none is, where the ``OTEL_*`` variables say.
    """

    _plain: dict[type, Any]
    _made: WeakKeyDictionary[Any, type]

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what is instrumented."""
        return ("prefect >= 3.8.4, < 4",)

    def _instrument(self, **options: Any) -> None:
        if provider := options.get("tracer_provider"):
            span.use_provider(provider)
        self._made = WeakKeyDictionary()
        self._plain = {}
        for kind in (Task, Flow):
            self._plain[kind] = kind.__init__
            kind.__init__ = self._instrumenting(kind.__init__)  # type: ignore[method-assign]

    def _uninstrument(self, **_: Any) -> None:
        for kind, plain in self._plain.items():
            kind.__init__ = plain  # type: ignore[misc]
        for made, kind in self._made.items():
            made.uninstrument()
            made.__class__ = kind

    def _instrumenting(self, plain: Any) -> Any:
        @wraps(plain)
        def __init__(made: Any, *args: Any, **options: Any) -> None:  # noqa: N807 - takes its place
            plain(made, *args, **options)
            if not isinstance(made, BackgroundTask | BackgroundFlow):
                kind = type(made)
                made.__class__ = _instrumented(kind)
                made.instrument()
                self._made[made] = kind

        return __init__


def _instrumented(kind: type) -> type:
    if kind not in _KINDS:  # a class derived from Prefect's
        base = BackgroundTask if issubclass(kind, Task) else BackgroundFlow
        _KINDS[kind] = type(kind.__name__, (base, kind), {})
    return _KINDS[kind]
