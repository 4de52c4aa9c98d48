"""A local TMDb: real HTTP, TMDb's shapes, a catalogue as large as wanted, and faults on demand."""

from tests.fake_tmdb.catalogue import Catalogue
from tests.fake_tmdb.faults import Fault
from tests.fake_tmdb.recorded import Recorded, recorded_directory
from tests.fake_tmdb.server import FakeTmdb, Seen, connected

__all__ = ["Catalogue", "FakeTmdb", "Fault", "Recorded", "Seen", "connected", "recorded_directory"]
