"""The catalog as runs use it: what its database refuses is said in a sentence."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog
    from haas_media.settings import Settings


@contextlib.contextmanager
def catalog_for_task(settings: "Settings") -> Iterator["Catalog"]:
    """Open the catalog for a task.

    Raises:
        CatalogUnreachable: its database does not answer, or is busy, now or in the middle.
        CatalogError: it cannot be opened, or its database fails in another way: a full disk.
    """
    from sqlalchemy.exc import DBAPIError

    from haas_media.catalog import (
        CatalogError,
        CatalogUnreachable,
        is_out_of_reach,
        open_catalog,
    )
    from haas_media.catalog.opening import first_line

    with open_catalog(settings.database_url) as catalog:
        try:
            yield catalog
        except DBAPIError as error:
            kind = CatalogUnreachable if is_out_of_reach(error) else CatalogError
            raise kind(
                f"The catalog's database failed: {first_line(error)}. What was stored before is "
                "kept; see to the database or its disk, and run it again."
            ) from error
