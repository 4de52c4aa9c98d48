"""Somebody else's Prefect project: nothing here has to do with media.

The three lines that give every task run its span are the import and the two decorators.
"""

import sys

from haas_otel import flow, task


@task(name="Fetch the forecast", retries=1)
def fetch(city: str) -> float:
    if city == "Atlantis":
        raise LookupError(f"no weather station in {city}")
    return 21.5


@flow
def forecast(cities: list[str]) -> list[float]:
    return [fetch(city) for city in cities]


if __name__ == "__main__":
    forecast(sys.argv[1:])
