"""Telling that a message was cut, that it is a near miss, or that the log's collector lost some.

Pure.  What follows from it is the business of :mod:`pbs_watch.log.cuts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pbs_watch.pattern.format import Cut

LOSSES = (b" due to rate-limiting", b"Suppressed ")
"""What rsyslog and journald write where they dropped messages, the first piece of a cut one maybe
(facts/courier.md, "Forged lines")."""
LOSS = b" messages "
"""What all of them contain; searching for one text takes half as long as for two."""
COLLECTORS = (b"rsyslogd", b"systemd-journal", b"journal")
"""How their own tags begin.  Anybody else's text of the kind is no loss."""

_REPEATED = re.compile(rb"message repeated \d{1,10}+ times: \[ ?+")
"""How rsyslog wraps a message that came several times; it ends in a bracket."""


def is_cut(block: bytes, start: int, end: int, cut: Cut) -> bool:
    """Whether the message ``block[start:end]`` was cut."""
    if cut.length and end - start >= cut.length:
        return True
    start, end = _unwrapped(block, start, end)
    for rule in cut.rules:
        if block.startswith(rule.starts, start, end):
            return rule.tail is None or rule.tail.search(block, start, end) is None
    return False


def _unwrapped(block: bytes, start: int, end: int) -> tuple[int, int]:
    repeated = _REPEATED.match(block, start, end)
    return (start, end) if repeated is None else (repeated.end(), end - 1)


def looks_like_login(
    block: bytes, start: int, end: int, near: Sequence[tuple[bytes, str]], cut: Cut | None
) -> str | None:
    """The format to whose logins the message ``block[start:end]`` is near, ``None`` if to none.

    ``near``: literals, and the format of each.  A message that begins as one that may be cut is
    known to be no login, and holds text of a client that never authenticated, whole or not.
    """
    for literal, name in near:
        if block.find(literal, start, end) >= 0:
            starts = tuple(rule.starts for rule in cut.rules) if cut else ()
            start, end = _unwrapped(block, start, end)
            return None if block.startswith(starts, start, end) else name
    return None


def is_loss(block: bytes, start: int, end: int) -> bool:
    """Whether a collector's own message ``block[start:end]`` says that it dropped some."""
    return any(block.find(text, start, end) >= 0 for text in LOSSES)


def strictest(cuts: Sequence[Cut]) -> Cut | None:
    """What holds for a tag that several formats share: whatever one of them takes for a cut."""
    if not cuts:
        return None
    return Cut(
        length=min((cut.length for cut in cuts if cut.length), default=0),
        bytes=max(cut.bytes for cut in cuts),
        seconds=max(cut.seconds for cut in cuts),
        rules=tuple(rule for cut in cuts for rule in cut.rules),
    )
