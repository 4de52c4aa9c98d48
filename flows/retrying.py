"""Which failed attempts of a media task are followed by another, and when."""

from typing import Any

# Seconds after the first failure and the second: a restart of the database, an outage of TMDb.
RETRY_DELAYS = [60, 300]


def may_pass(_task: Any, _task_run: Any, state: Any) -> bool:
    """Say whether what failed an attempt may be gone by the next one.

    TMDb or the catalog's database did not answer, or the database was busy. A wrong setting, an
    unknown title or a refused token fails again, so that it fails at once.
    """
    from haas_media.catalog import CatalogUnreachable
    from haas_media.providers.records import ProviderUnreachable

    error = state.result(raise_on_failure=False)
    return isinstance(error, ProviderUnreachable | CatalogUnreachable)


# What `haas_otel.task` takes, for every task that reads from TMDb or the catalog.
RETRIES: dict[str, Any] = {
    "retries": len(RETRY_DELAYS),
    "retry_delay_seconds": RETRY_DELAYS,
    "retry_condition_fn": may_pass,
}
