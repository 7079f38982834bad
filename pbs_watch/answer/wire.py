"""What the two wire formats have in common: what may be said, and how a request is taken in.

A wire format is a pure value: bytes in, keys and replies out.  It reads no clock and no socket,
and an incomplete request is a normal result.  :mod:`~pbs_watch.answer.tcp_table` and
:mod:`~pbs_watch.answer.socketmap` are the two there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from pbs_watch.answer.verdict import Verdict
from pbs_watch.errors import ConfigError

# Postfix reads at most 4096 bytes of a tcp_table reply; quoting makes a text three times as long.
_TEXT_LIMIT = 1024

# Python 3.11 finds a member of an enum in 200 ns, a name of the module in 20.
_FOUND = Verdict.FOUND
_ABSENT = Verdict.ABSENT


@dataclass(frozen=True, slots=True)
class Answers:
    """What the operator wants to be said (design.md, "Answering").

    ``answer`` is the value of a found key, as access(5) understands it.  ``trouble`` says what
    becomes of a lookup that cannot be decided: ``tempfail`` fails the lookup, ``defer`` answers
    with an access(5) action that defers the mail.  ``reason`` is the text of either.
    Raises ConfigError where Postfix could not read the reply.
    """

    answer: str = "OK"
    trouble: Literal["tempfail", "defer"] = "tempfail"
    reason: str = "pbs-watch cannot tell now, try again later"

    def __post_init__(self) -> None:
        for setting in ("answer", "reason"):
            text: str = getattr(self, setting)
            if not text.strip():
                raise ConfigError(f"{setting}: empty, and Postfix takes that for an error; say OK")
            if len(text.encode()) > _TEXT_LIMIT:
                raise ConfigError(f"{setting}: longer than {_TEXT_LIMIT} bytes; shorten it")

    @property
    def deferral(self) -> str | None:
        """The value that defers the mail, or None where the lookup itself is to fail."""
        return f"DEFER 4.7.1 {self.reason}" if self.trouble == "defer" else None


@dataclass(frozen=True, slots=True)
class Replies:
    """The three replies of one wire format, ready to be sent."""

    found: bytes
    absent: bytes
    unknown: bytes

    def to(self, verdict: Verdict) -> bytes:
        """The reply that says ``verdict``."""
        if verdict is _FOUND:
            return self.found
        return self.absent if verdict is _ABSENT else self.unknown


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a request that asks for no lookup; after the ``last`` one nothing is read."""

    data: bytes
    last: bool = False


class Wire(Protocol):
    """A wire format."""

    @property
    def replies(self) -> Replies:
        """The replies to lookups."""

    def single(self, data: bytes) -> bytes | None:
        """The key, where ``data`` is one whole request of the usual form and nothing else.

        None says nothing: :meth:`take` tells.
        """

    def take(self, heard: bytes, start: int) -> tuple[bytes | Reply, int] | None:
        """The request that begins at ``start``, and where the next one begins.

        The request is the key to look up, or the reply where there is nothing to look up.
        None means that the request is incomplete.  How the bytes were split on their way here
        makes no difference.
        """
