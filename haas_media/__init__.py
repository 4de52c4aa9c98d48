"""The media library itself. Knows neither Prefect nor telemetry."""
