"""Why a file is not matched: kept as a code with arguments, made a sentence where it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID_TAG = "put an id tag such as {{tmdb-603}} into"
# What people read, by code. The codes are kept in catalogs: they may be added to, not changed.
SENTENCES = {
    # From names
    "name-too-long": f"The name is longer than any file system takes. Rename the file, or {_ID_TAG}"
    " its folder's name.",
    "name-says-nothing": "The name says nothing about what the file holds. Rename the file or its"
    f" folder to 'Title (Year)', or {_ID_TAG} the folder's name.",
    "no-title": "The name says nothing about what the file holds. Rename the file or its folder to"
    " 'Title (Year)'.",
    "no-episode": "The name has no season and episode, and no date. Rename the file like 'Show -"
    " S01E02', or 'Show - 2010-05-23' for a daily show.",
    "no-show-no-episode": "The name says neither which show nor which episode this is. Put the file"
    " into 'Show (Year)/Season 01' and rename it like 'Show - S01E02', or put an id tag such as"
    " {{tmdb-1399}} into the show folder's name.",
    "no-show": "The name tells an episode, but not which show. Put it into a folder with the show's"
    " name, or write a tvshow.nfo there.",
    "whole-season": "The name tells season {season}, but no episode: a whole season in one file is"
    " not one of its episodes. Split it, or rename it like 'Show - S01E01-E10'.",
    "disc-of-episodes": "A disc holds several episodes, and nothing says which is which. Copy each"
    " into a file of its own and name it like 'Show - S01E02'.",
    "between-episodes": "The name tells a number between two episodes, or a special without one."
    " Rename it like 'Show - S00E01', by TMDb's number of the special.",
    "several-seasons": "The name or its NFO file tells episodes of seasons {seasons} in one file,"
    " which nothing can be matched to. Split it by season.",
    "number-too-large": "The name tells a season or episode that is larger than any. Rename it like"
    " 'Show - S01E02'.",
    "episode-among-films": "The name is that of an episode, but the library holds movies. Move it"
    " to a library of kind 'tv', or give the film's folder an id tag such as {{tmdb-603}}.",
    # From NFO files
    "nfo-unusable": "Its NFO file {name} cannot be used: {problem}.",
    # From a provider
    "nothing-to-search-for": "There is no title to search for.",
    "not-found": "TMDb finds nothing called {title}.",
    "not-sure": "TMDb has nothing that is surely {title}: the closest is {closest} with {score}.",
    "ambiguous": "TMDb has several titles called {title}: {which}; {missing}.",
    "no-such-episode": "The number can be read as {readings}; TMDb has no such episode of {title}."
    " Rename it like 'Show - S01E02', or scan with 'refresh existing' once TMDb has it.",
    "unknown-foreign-id": "No {what} with {source}'s id {id} is known. Correct the id tag, or use"
    " one of TMDb's ids.",
    "unknown-tmdb-id": "TMDb has no {what} with id {id}. Correct the id tag or the NFO file that"
    " gives it.",
    "unusable-record": "{problem}.",
    # From people
    "removed-on-request": "Removed from the library on request ({title}); add it to the library"
    " again, or change the file, to bring it back",
    # Of catalogs that kept sentences.
    "earlier": "{sentence}",
}


class Reason(str):
    """A reason as the sentence that it is shown as, with the code and arguments that are kept.

    Args:
        code: a key of ``SENTENCES``. One that this version does not know is shown as it is.
        args: what the sentence is filled in with, as JSON takes it.
    """

    code: str
    args: dict[str, Any]

    def __new__(cls, code: str, args: Mapping[str, Any] | None = None, **more: Any) -> Reason:
        """Make the sentence."""
        values = {**(args or {}), **more}
        try:
            sentence = SENTENCES[code].format(**values)
        except (KeyError, IndexError):  # kept by another version
            sentence = " ".join([code, *(f"{name}={value}" for name, value in values.items())])
        made = super().__new__(cls, sentence)
        made.code, made.args = code, values
        return made

    def __getnewargs__(self) -> tuple[str, dict[str, Any]]:  # type: ignore[override]
        """Let copies and pickles be made anew."""
        return self.code, self.args

    def __composite_values__(self) -> tuple[str, dict[str, Any]]:
        """Return the columns that a reason is kept in."""
        return self.code, self.args

    @classmethod
    def from_columns(cls, code: str | None, args: Mapping[str, Any] | None) -> Reason | None:
        """Undo ``__composite_values__``."""
        return None if code is None else cls(code, args)
