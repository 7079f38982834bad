r"""What a pattern file says, compiled: values that the scanner works with.

Produced by :mod:`pbs_watch.pattern.compile`, or read from what that made before
(:mod:`pbs_watch.pattern.compiled`); used by :mod:`pbs_watch.pattern.scan`.  All regular
expressions work on bytes, are used as ``regex.match(buffer, message_start, message_end)`` and end
in ``\Z``, which then means the end of the message; matching takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pbs_watch.log.header import Header

if TYPE_CHECKING:
    from pbs_watch.pattern.syntax import Sequence


class Kind(Enum):
    """What a rule's line says."""

    LOGIN = "login"
    """Somebody authenticated."""
    END = "end"
    """An authenticated session ended."""
    OPEN = "open"
    """First line of a join: names the address of a connection that may log in later."""
    FAIL = "fail"
    """Cancels an ``open`` line with the same join key."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of line.

    ``pattern``, as ``regex``, matches the whole message.  ``groups`` maps the fields the rule
    captures to group numbers; the possible fields are ``user``, ``address``, ``port``, ``session``
    (a key that joins lines) and ``seconds`` (the session's length).  ``literals``: every message of
    this rule contains at least one of them, outside of fields.  ``texts``: what stands in every
    message of it, outside of fields, and ``leads``: for each of them what may stand right before
    it, as far as that is known (empty: anything).  ``longest``: no message of this rule is longer,
    in bytes.  ``hold``: a login that opens a session which keeps its address allowed.  ``renew``:
    an end that starts the window anew.  ``line`` is the rule's line in its file.
    ``body`` is the rule as it was written, for :mod:`pbs_watch.pattern.explain`; empty where the
    file was not parsed.
    """

    kind: Kind
    hold: bool
    renew: bool
    pattern: bytes
    groups: Mapping[str, int]
    literals: tuple[bytes, ...]
    texts: tuple[bytes, ...]
    leads: tuple[tuple[bytes, ...], ...]
    longest: int
    line: int
    body: Sequence = ()

    @property
    def regex(self) -> re.Pattern[bytes]:
        """``pattern`` compiled, which the scanner does for all rules of a tag at once."""
        return re.compile(self.pattern)


@dataclass(frozen=True, slots=True)
class CutRule:
    r"""A message that counts as cut: it starts with ``starts`` and lacks the ``tail``.

    ``tail`` is searched with ``tail.search(buffer, message_start, message_end)`` and ends in
    ``\Z``; ``None`` means that every message with this start is a cut.
    """

    starts: bytes
    tail: re.Pattern[bytes] | None


@dataclass(frozen=True, slots=True)
class Cut:
    """How a logger cuts lines: ``length`` in bytes from which on a message counts as cut (0: no
    length does), and for how many logged ``bytes`` or ``seconds`` what follows is suspect.
    """

    length: int
    bytes: int
    seconds: float
    rules: tuple[CutRule, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """Text of which a message is made that looks like a login, whether or not a rule takes it.

    ``line`` is that of the statement in its file.
    """

    literal: bytes
    line: int


@dataclass(frozen=True, slots=True)
class Join:
    """Two lines make a login: ``by`` is ``pid`` or ``session``, ``seconds`` how far apart."""

    by: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a pattern file: whole log lines without newlines, and what they must give.

    ``expect`` is ``login``, ``end``, ``cut``, ``near`` or ``nothing``; ``user`` and ``address`` are
    what the match captures, ``None`` where the example does not say.
    """

    lines: tuple[bytes, ...]
    expect: str
    user: bytes | None
    address: bytes | None
    line: int


@dataclass(frozen=True, slots=True)
class Format:
    """One mail server's lines.

    ``tags`` is empty where the header carries no tag, ``examples`` where the file was not parsed.
    """

    name: str
    path: str
    header: Header
    tags: frozenset[bytes]
    rules: tuple[Rule, ...]
    cut: Cut | None
    near: tuple[Near, ...]
    join: Join | None
    examples: tuple[Example, ...]

    @property
    def holds(self) -> bool:
        """Whether some of its logins open sessions that hold their address."""
        return any(rule.hold for rule in self.rules)

    @property
    def ends_lack(self) -> bool:
        """Whether some end of it takes its user or address from a login."""
        ends = (rule for rule in self.rules if rule.kind is Kind.END)
        return any(not {"user", "address"} <= set(rule.groups) for rule in ends)
