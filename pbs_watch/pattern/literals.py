"""Choosing the literals that the scanner searches for.

A block of the log is searched for a literal first, and a rule runs only around the hits; so the
fewer and the rarer the literals of a format, the faster its scan.  The choice is greedy: the text
that most rules contain outside of their options, then the longest, but none that ordinary lines of
a mail log contain.  For Courier that is ``, user=``, one search for all its rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Listing

from pbs_watch.pattern.syntax import Choice, Literal, Sequence

SHORTEST = 3
"""Bytes; a shorter literal is found on too many lines to be worth a search."""
_SHORTEST_SHARED = 6
"""Bytes of a literal for which a rule gives up a longer one of its own."""


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


def choose(rules: Listing[Sequence], otherwise: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], ...]:
    """For each rule, literals of which every one of its messages contains at least one.

    ``otherwise`` serves the rules that have no rare one; where there is none, one that is not
    rare does.
    """
    always = [_rare(_always(rule)) for rule in rules]
    shared = _cover(always, _SHORTEST_SHARED)
    chosen = (
        _containing(shared, texts) or _own(rule) for rule, texts in zip(rules, always, strict=True)
    )
    return tuple(
        texts or otherwise or _own(rule, rare=False)
        for rule, texts in zip(rules, chosen, strict=True)
    )


def together(
    rules: Listing[tuple[Sequence, tuple[bytes, ...]]], near: Listing[bytes]
) -> frozenset[bytes]:
    """What to search for, for the rules of several formats: of each rule at least one text.

    Each search goes over all bytes, so a text that stands in the rules of several formats saves
    some.  ``rules``: each with what was chosen for it.  ``near``: texts that are to be found too.
    """
    always = [
        # What serves a rule is one text of its own, or all of those chosen for it.
        texts if len(chosen) == 1 and (texts := _rare(_always(rule))) else [one]
        for rule, chosen in rules
        for one in chosen
    ]
    always += [[text] for text in near]
    shared = _cover(always, SHORTEST)
    alone = (max(texts, key=len) for texts in always if not _containing(shared, texts))
    return frozenset({*shared, *alone})


def _rare(texts: Listing[bytes]) -> list[bytes]:
    return [text for text in texts if _WORD.search(text) and text not in _ORDINARY]


def _always(rule: Sequence) -> list[bytes]:
    """The literals that stand in every message of the rule."""
    return [element.value for element in rule if isinstance(element, Literal)]


def _containing(shared: Listing[bytes], texts: Listing[bytes]) -> tuple[bytes, ...]:
    """The first of the shared texts that one of ``texts`` contains."""
    return next(((one,) for one in shared if any(one in text for text in texts)), ())


def _cover(rules: Listing[Listing[bytes]], shortest: int) -> list[bytes]:
    """Texts that stand in two rules or more, those in most rules first, until none is left.

    Of a rule, given by its texts, one of them counts.  Of texts in as many rules the longest.
    """
    within: dict[bytes, set[int]] = {}
    for index, texts in enumerate(rules):
        for part in {part for text in texts for part in _parts(text, shortest)}:
            within.setdefault(part, set()).add(index)
    chosen = []
    left = {part: within[part] for part in _rare(list(within))}
    while left := {part: found for part, found in left.items() if len(found) > 1}:
        best = max(left, key=lambda part: (len(left[part]), len(part), part))
        chosen.append(best)
        covered = left[best]
        left = {part: found - covered for part, found in left.items()}
    return chosen


def _parts(text: bytes, shortest: int) -> set[bytes]:
    size = len(text)
    return {text[start:end] for start in range(size) for end in range(start + shortest, size + 1)}


def _own(rule: Sequence, *, rare: bool = True) -> tuple[bytes, ...]:
    """The rule's longest literal, else one of each alternative of the best ``( | )``."""
    texts = _always(rule)
    sets: list[tuple[bytes, ...]] = [(text,) for text in (_rare(texts) if rare else texts)]
    for element in rule:
        if isinstance(element, Choice):
            each = [_own(alternative, rare=rare) for alternative in element.alternatives]
            sets.append(
                tuple(sorted({text for texts in each for text in texts})) if all(each) else ()
            )
    usable = [texts for texts in sets if texts and min(map(len, texts)) >= SHORTEST]
    return max(usable, key=lambda texts: (-len(texts), min(map(len, texts))), default=())
