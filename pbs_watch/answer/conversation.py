"""One connection's requests and replies, in order.  Pure: bytes in, replies out.

Promises one reply to each request, in the order of the requests, however the bytes were split.
What can be answered is answered at once.  A key that must wait for the log to be drained becomes
the conversation's *question*: what was heard behind it stays unread until it is settled, so that
no reply overtakes another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Reply, Wire

Lookup = Callable[[bytes], Verdict | None]
"""Says at once what is known about a key, or None: it cannot be told before the log is drained."""


class Together(Protocol):
    """Told when lookups begin that have arrived together, and when they have ended."""

    def begin(self) -> None:
        """The lookups that follow have all arrived."""

    def end(self) -> None:
        """The last of them has been made."""


TURN_LIMIT = 256
"""Bytes of replies after which others take their turn: some 20 requests, so that a thousand clients
that send without waiting delay an ordinary one by less than a second.  It also bounds what waits
for a client that sends and does not read."""


class Conversation:
    """What was heard and not yet answered.

    ``question`` is the key that waits to be settled.  ``more``: the turn is used up, go on with
    :meth:`resume`.  ``over``: the last reply was given, nothing is read any more.  ``idle``: every
    request was answered and none has begun, so that another could go on from here.
    """

    __slots__ = ("_heard", "_lookup", "_single", "idle", "more", "over", "question", "wire")

    def __init__(self, wire: Wire, lookup: Lookup) -> None:
        self.wire = wire
        self._single = wire.single
        self._lookup = lookup
        self._heard = b""
        self.question: bytes | None = None
        self.more = False
        self.over = False
        self.idle = True

    def hear(self, data: bytes) -> bytes:
        """The replies that can be given now that ``data`` arrived."""
        if self.idle and (key := self._single(data)) is not None:
            # Nearly always: one request, all of it, and nothing before or behind it.
            if (verdict := self._lookup(key)) is not None:
                return self.wire.replies.to(verdict)
            self.question = key
            self.idle = False
            return b""
        if self.over:
            return b""
        if self._heard:
            data = self._heard + data
        if self.question is not None:
            self._heard = data
            return b""
        return self._go_on(data, b"")

    def settle(self, verdict: Verdict) -> bytes:
        """The reply to the question, and the replies to what was heard behind it."""
        self.question = None
        reply = self.wire.replies.to(verdict)
        if self._heard:
            return self._go_on(self._heard, reply)
        self.idle = True
        return reply

    def resume(self) -> bytes:
        """The replies of another turn."""
        return self._go_on(self._heard, b"")

    def _go_on(self, heard: bytes, replies: bytes) -> bytes:
        wire = self.wire
        start = 0
        self.more = False
        while (taken := wire.take(heard, start)) is not None:
            asked, start = taken
            if isinstance(asked, Reply):
                replies += asked.data
                if asked.last:
                    self.over = True
                    break
            elif (verdict := self._lookup(asked)) is None:
                self.question = asked
                break
            else:
                replies += wire.replies.to(verdict)
            if start == len(heard):
                break
            if len(replies) >= TURN_LIMIT:
                self.more = True
                break
        self._heard = heard[start:]
        self.idle = not (self._heard or self.over or self.question is not None)
        return replies
