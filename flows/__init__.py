"""One module per media task: its Prefect task and its flow."""
