"""What a project names in its own way. Set before its first task runs; nothing is read earlier.

from haas_otel import settings
settings.service_name = "weather"
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Settings:
    """The names that spans, metrics and logs carry, and the loggers that are sent.

    Attributes:
        scope: the instrumentation scope of task spans.
        service_name: what ``service.name`` is where no ``OTEL_*`` variable says.
        loggers: what is sent beside Prefect's lines of runs and our own, and what is below these.
    """

    scope: str = "Haas.Media.BackgroundTasks"
    service_name: str = "prefect"
    loggers: tuple[str, ...] = ()


settings = Settings()
