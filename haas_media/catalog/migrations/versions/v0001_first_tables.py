"""Where the first tables are. Those of a new catalog are made of the models."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Do nothing: it is where the others begin."""
