"""The tcp_table protocol: one line asks, one line answers.  Pure: no I/O, no clock.

Promises exactly one reply line to each request line: Postfix takes a surplus line for the answer
to its next key, which would be an open relay.  What is not a well-formed ``get`` is "no", with
``500``; a request longer than the limit gets ``400`` and is the last one.

Rests on facts/postfix.md, "tcp_table", and on tcp_table(5).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from pbs_watch.answer.wire import Answers, Replies, Reply

REQUEST_LIMIT = 4096
"""Bytes of the longest request, its LF included.  Postfix does not limit what it sends; the number
is the one it sets for replies, and a host name (255 bytes, quoted 765) stays far below it."""

# tcp_table(5): `%`, whitespace and all that is not printable ASCII is sent as %XX, in either case.
_PLAIN = re.compile(rb"get ([!-$&-~]++)\r?\n")
_QUOTED = re.compile(rb"get ((?:[!-$&-~]++|%[0-9A-Fa-f]{2})++)\r?\n")

_MALFORMED = Reply(b"500 expected: get KEY\n")
_TOO_LONG = Reply(b"400 request longer than %d bytes\n" % REQUEST_LIMIT, last=True)


class TcpTable:
    """The wire format, with the replies that the operator configured."""

    __slots__ = ("replies",)

    def __init__(self, answers: Answers) -> None:
        deferral = answers.deferral
        self.replies = Replies(
            found=_line(b"200", answers.answer),
            absent=_line(b"500", "not found"),
            unknown=_line(b"200", deferral) if deferral else _line(b"400", answers.reason),
        )

    def single(self, data: bytes) -> bytes | None:
        """The key of a plain request: see :class:`~pbs_watch.answer.wire.Wire`."""
        get = _PLAIN.fullmatch(data)
        return None if get is None or len(data) > REQUEST_LIMIT else get[1]

    def take(self, heard: bytes, start: int) -> tuple[bytes | Reply, int] | None:
        """The key of the line at ``start``, unquoted: see :class:`~pbs_watch.answer.wire.Wire`."""
        get = _PLAIN.match(heard, start)
        # Nearly every request is plain, whole and short, and is done here.
        if get is not None and (end := get.end()) - start <= REQUEST_LIMIT:
            return get[1], end
        end = heard.find(b"\n", start, start + REQUEST_LIMIT) + 1
        if end == 0:
            return (_TOO_LONG, len(heard)) if len(heard) - start >= REQUEST_LIMIT else None
        get = _QUOTED.match(heard, start, end)
        return (_MALFORMED if get is None else unquote_to_bytes(get[1])), end


def _line(code: bytes, text: str) -> bytes:
    """A reply line.  Only what would end or garble the line is quoted, as Postfix does."""
    quoted = re.sub(rb"[%\n\r\0]", lambda byte: b"%%%02X" % ord(byte[0]), text.encode())
    return code + b" " + quoted + b"\n"
