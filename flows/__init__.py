"""One module per media task: its Prefect task and its flow."""

from haas_otel import settings

settings.service_name = "haas-media"
settings.loggers = ("haas_media", "flows")
