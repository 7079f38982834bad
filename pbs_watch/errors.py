"""Errors that an operator can act on.

Every error that reaches the command line is a :class:`PbsWatchError`: its text is one line that
says what is wrong, where, and what to do.  The command line prints it and exits with 2.
"""

from __future__ import annotations

from pbs_watch.escape import printable


class PbsWatchError(Exception):
    """The root of all errors that are shown to an operator as one line."""


class UsageError(PbsWatchError):
    """The command line asks for something that does not exist or does not fit together."""


class ConfigError(PbsWatchError):
    """The configuration file cannot be used; the text names file, line and column.

    ``setting``: which one it is, where the text does not say where that stands; or empty.
    """

    def __init__(self, text: str, setting: str = "") -> None:
        super().__init__(text)
        self.setting = setting


class PatternError(PbsWatchError):
    """A pattern file cannot be used.

    The first line of the text is ``FILE:LINE:COLUMN: what is wrong; what to write instead``.
    ``excerpt`` holds the offending line of the file and a line with a caret under the column,
    both without a newline at the end, or is empty where there is no such line.
    """

    def __init__(self, text: str, excerpt: str = "") -> None:
        super().__init__(text)
        self.excerpt = excerpt


class MapError(PbsWatchError):
    """The map is missing, damaged, of another schema, or cannot be read or written."""


class UnpackableError(MapError):
    """A login or grant has a time that no row can hold; nothing was written."""


class SourceError(PbsWatchError):
    """A log cannot be read at all (a directory, a device); a missing log is not an error."""


class SharedError(PbsWatchError):
    """The engine that keeps shared grants cannot be reached, or refuses; it may pass."""


class ListenError(PbsWatchError):
    """A socket cannot be bound."""


def one_line(error: Exception) -> str:
    """What it says, in one line; of an error that is not ours also what it is."""
    known = isinstance(error, PbsWatchError | OSError)
    return printable(str(error) if known else repr(error))
