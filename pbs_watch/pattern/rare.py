"""Texts that are worth a search, and those that serve several rules at once.

The scanner searches a block for texts and reads the lines around the hits; so the fewer and the
rarer they are, the faster its scan.  A text that stands in ordinary lines of a mail log is found
too often.

Pure, and apart from :mod:`pbs_watch.pattern.literals` since a rule that was compiled before needs
no syntax tree.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

SHORTEST = 3
"""Bytes; a shorter literal is found on too many lines to be worth a search."""

_ORDINARY = b"\n".join(
    (
        b"postfix/smtpd[1]: connect from h.example.org[192.0.2.1]",
        b"postfix/smtpd[1]: disconnect from h.example.org[192.0.2.1] ehlo=1 quit=1 commands=2",
        b"postfix/smtpd[1]: A1: client=h.example.org[192.0.2.1], sasl_username=bob",
        b"postfix/smtpd[1]: NOQUEUE: reject: RCPT from h[192.0.2.1]: 554 5.7.1 <a@b>: Relay access",
        b" denied; from=<a@b> to=<a@b> proto=ESMTP helo=<h>",
        b"postfix/smtpd[1]: Anonymous TLS connection established from h[192.0.2.1]: TLSv1.3 with",
        b"postfix/cleanup[1]: A1: message-id=<1@h.example.org>",
        b"postfix/qmgr[1]: A1: from=<a@b>, size=1, nrcpt=1 (queue active)",
        b"postfix/qmgr[1]: A1: removed",
        b"postfix/smtp[1]: A1: to=<a@b>, relay=h.example.org[192.0.2.1]:25, delay=1",
        b", delays=1/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as A1)",
        b"amavis[1]: (1-2) Passed CLEAN {RelayedInbound}, [192.0.2.1]:1 <a@b> -> <a@b>, Hits: -1",
        b", size: 1, queued_as: A1, 1 ms",
        b"spamd[1]: spamd: clean message (0.1/5.0) for bob:1 in 0.2 seconds, 1 bytes.",
        b"opendkim[1]: A1: DKIM-Signature field added (s=mail, d=example.org)",
        b"pop3d: Connection, ip=[::ffff:192.0.2.1], port=[1]",
        b"imapd: Disconnected, ip=[::ffff:192.0.2.1], time=0",
    )
)
"""What most lines of a mail log are made of: a text that stands here is found too often."""


_WORD = re.compile(rb"[A-Za-z]{3}")
"""What a rare text has: brackets, digits and single letters are everywhere."""


def together(
    rules: Sequence[tuple[tuple[bytes, ...], tuple[bytes, ...]]], near: Sequence[bytes]
) -> frozenset[bytes]:
    """What to search for, for the rules of several formats: of each rule at least one text.

    Each search goes over all bytes, so a text that stands in the rules of several formats saves
    some.  ``rules``: what stands in every message of each, and what was chosen for it.  ``near``:
    texts that are to be found too.
    """
    always = [
        # What serves a rule is one text of its own, or all of those chosen for it.
        texts if len(chosen) == 1 and (texts := rare(standing)) else [one]
        for standing, chosen in rules
        for one in chosen
    ]
    always += [[text] for text in near]
    shared = cover(always, SHORTEST)
    alone = (max(texts, key=len) for texts in always if not containing(shared, texts))
    return frozenset({*shared, *alone})


def rare(texts: Collection[bytes]) -> list[bytes]:
    """Those that no ordinary line of a mail log contains."""
    return [text for text in texts if _WORD.search(text) and text not in _ORDINARY]


def containing(shared: Sequence[bytes], texts: Sequence[bytes]) -> tuple[bytes, ...]:
    """The first of the shared texts that one of ``texts`` contains."""
    return next(((one,) for one in shared if any(one in text for text in texts)), ())


def cover(rules: Sequence[Sequence[bytes]], shortest: int) -> list[bytes]:
    """Texts that stand in two rules or more, those in most rules first, until none is left.

    Of a rule, given by its texts, one of them counts.  Of texts in as many rules the longest.
    """
    within: dict[bytes, set[int]] = {}
    for index, texts in enumerate(rules):
        for part in {part for text in texts for part in _parts(text, shortest)}:
            within.setdefault(part, set()).add(index)
    chosen = []
    left = {part: within[part] for part in rare(list(within))}
    while left := {part: found for part, found in left.items() if len(found) > 1}:
        best = max(left, key=lambda part: (len(left[part]), len(part), part))
        chosen.append(best)
        covered = left[best]
        left = {part: found - covered for part, found in left.items()}
    return chosen


def _parts(text: bytes, shortest: int) -> set[bytes]:
    size = len(text)
    return {text[start:end] for start in range(size) for end in range(start + shortest, size + 1)}
