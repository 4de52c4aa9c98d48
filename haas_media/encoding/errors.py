"""What goes wrong with an encoding, in sentences for people."""

from __future__ import annotations


class EncodingError(Exception):
    """An encoding that did not take place. The text says what is wrong and what to do.

    The existing output, if there was one, is untouched whenever this is raised.
    """
