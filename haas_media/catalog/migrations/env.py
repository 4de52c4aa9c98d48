"""Alembic's environment: runs in the transaction of the connection it is given."""

from alembic import context

from haas_media.catalog.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite's data definition is transactional once the driver is kept from interfering.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
