"""Where metadata comes from: the vocabulary between the scan and a provider such as TMDb."""

from haas_media.providers.records import (
    Candidate,
    CreditRecord,
    EpisodeRecord,
    Gone,
    Match,
    MovieRecord,
    NoMatch,
    PersonRecord,
    Provider,
    ProviderRefused,
    ProviderUnreachable,
    SeasonRecord,
    ShowRecord,
    UnusableRecord,
)

__all__ = [
    "Candidate",
    "CreditRecord",
    "EpisodeRecord",
    "Gone",
    "Match",
    "MovieRecord",
    "NoMatch",
    "PersonRecord",
    "Provider",
    "ProviderRefused",
    "ProviderUnreachable",
    "SeasonRecord",
    "ShowRecord",
    "UnusableRecord",
]
