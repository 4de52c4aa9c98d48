"""One module per media task: its Prefect task and its flow."""

from haas_media.settings_sources import name_telemetry_dir
from haas_otel import settings

# Before any of them begins: who runs one, and who reads its spans, mean the same folder.
name_telemetry_dir()
settings.service_name = "haas-media"
settings.loggers = ("haas_media", "flows")
