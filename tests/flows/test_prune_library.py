"""The flow that prunes: it reports unless told otherwise, and leaves no span."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from haas_media.catalog import open_catalog
from haas_media.catalog.models import Library, MediaFile

if TYPE_CHECKING:
    from tests.flows.conftest import Flows


def test_pruning_only_reports_unless_it_is_told_to_remove(flows: Flows) -> None:
    url = f"sqlite:///{Path(flows.environment['HAAS_DATA_DIR'], 'catalog.sqlite3')}"
    with open_catalog(url) as catalog:
        with catalog.session() as session:
            session.add(Library(id=1, title="Gone", kind="movies", path="/gone"))
            session.flush()
            session.add(MediaFile(library_id=1, path="a.mkv", size=1, mtime_ns=1))
        looked = flows("prune_library")
        assert (looked.run.state_name, looked.spans) == ("Completed", [])
        assert looked.run.name == "look for what can be pruned"
        assert "Gone (/gone): 1 file on record" in str(
            looked.artifacts["prune-library-report"].data
        )
        with catalog.reading() as session:
            assert session.query(Library).count() == 1
        refused = flows("prune_library", dry_run=False, gone_for_good=["Films"])
        assert refused.run.state_name == "Failed"
        assert "'Films' is not out of reach. What is: nothing." in refused.output
        pruned = flows("prune_library", dry_run=False)
        assert (pruned.run.state_name, pruned.run.name) == ("Completed", "prune")
        with catalog.reading() as session:
            assert session.query(Library).count() == session.query(MediaFile).count() == 0
