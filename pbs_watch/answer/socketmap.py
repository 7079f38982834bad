"""The socketmap protocol: netstrings, ``name SP key`` asks.  Pure but for the asides.

Promises one reply to each netstring.  ``relay`` is the map; an *aside* is another name, which a
callable answers (the daemon's live state); any other name, and a request without a key, is
``PERM``.  Bytes that are no netstring, or one that is too long, get ``PERM`` and are the last:
nobody can tell where the next request would begin.

Rests on facts/postfix.md, "socketmap", on socketmap_table(5) and on
https://cr.yp.to/proto/netstrings.txt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pbs_watch.answer.wire import Answers, Replies, Reply

Aside = Callable[[bytes], bytes | None]
"""Answers the key of another name at once: the data, or None for "not found"."""

MAP = b"relay"
"""The name of the map, as in ``socketmap:unix:PATH:relay``."""

REQUEST_LIMIT = 10_000
"""Bytes of the longest query, the netstring's length and comma not counted (socketmap_table(5))."""

_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,4}+):")
_SINGLE = re.compile(rb"([1-9][0-9]?):relay ([^,]++),")
_BEGINNING = re.compile(rb"(?:0|[1-9][0-9]{0,4}+)?")


def netstring(payload: bytes) -> bytes:
    """``payload`` with its length in front and a comma behind."""
    return b"%d:%b," % (len(payload), payload)


_NOT_FOUND = Reply(netstring(b"NOTFOUND "))
_UNKNOWN_NAME = Reply(netstring(b"PERM unknown map name, expected: relay"))
_NO_KEY = Reply(netstring(b"PERM expected: NAME KEY"))
_MALFORMED = Reply(netstring(b"PERM not a netstring"), last=True)
_TOO_LONG = Reply(netstring(b"PERM request longer than %d bytes" % REQUEST_LIMIT), last=True)


class Socketmap:
    """The wire format, with the replies that the operator configured, and the asides."""

    __slots__ = ("_asides", "replies")

    def __init__(self, answers: Answers, asides: Mapping[bytes, Aside]) -> None:
        deferral = answers.deferral
        self._asides = asides
        self.replies = Replies(
            found=netstring(b"OK " + answers.answer.encode()),
            absent=_NOT_FOUND.data,
            unknown=netstring(
                b"OK " + deferral.encode() if deferral else b"TEMP " + answers.reason.encode()
            ),
        )

    def single(self, data: bytes) -> bytes | None:
        """The key of a request to the map: see :class:`~pbs_watch.answer.wire.Wire`."""
        asked = _SINGLE.fullmatch(data)
        if asked is None or int(asked[1]) != len(b"relay ") + len(asked[2]):
            return None
        return asked[2]

    def take(self, heard: bytes, start: int) -> tuple[bytes | Reply, int] | None:
        """The netstring at ``start``: see :class:`~pbs_watch.answer.wire.Wire`."""
        length = _LENGTH.match(heard, start)
        if length is None:
            incomplete = _BEGINNING.fullmatch(heard, start) is not None
            return None if incomplete else (_MALFORMED, len(heard))
        size = int(length[1])
        if size > REQUEST_LIMIT:
            return _TOO_LONG, len(heard)
        payload = length.end()
        comma = payload + size
        if len(heard) <= comma:
            return None
        if heard[comma] != ord(","):
            return _MALFORMED, len(heard)
        return self._asked(heard[payload:comma]), comma + 1

    def _asked(self, payload: bytes) -> bytes | Reply:
        name, _, key = payload.partition(b" ")
        if not key:
            return _NO_KEY
        if name == MAP:
            return key
        aside = self._asides.get(name)
        if aside is None:
            return _UNKNOWN_NAME
        data = aside(key)
        return _NOT_FOUND if data is None else Reply(netstring(b"OK " + data))
