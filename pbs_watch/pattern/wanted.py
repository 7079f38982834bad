r"""What to search a block for: the texts of all formats, as few regular expressions as possible.

A search takes its time for the bytes it goes over, about as long as ``grep`` does; so texts that
share a rare letter are searched for together, by that letter.  A hit costs as much as going over a
thousand bytes; so a text may come with a condition.

*Whole* lines with a start that may be cut (``LOGIN FAILED, user=x, ip=[...]``) say nothing, and who
guesses passwords fills the log with them: they are no hits.  That must hide neither a cut (promise
2) nor anything else (promise 1):

* A cut begins with its start.  Behind ``: `` the message begins, or the start is not at its
  beginning and makes no cut; what rsyslog has wrapped, whose end is another one, has it behind a
  bracket (``message repeated 3 times: [ LOGIN FAILED, ...]``).
* All formats agree on the tail of a whole line, and no other start begins as this one does.
* A text of rules (``, user=``) is passed over in such a line only where it is part of the start,
  and if each rule that it serves has something else before it (``LOGIN, user=``).

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pbs_watch.pattern.format import Format, Rule
from pbs_watch.pattern.rare import SHORTEST, together

_RARE = b"QJXZYKVWUGBHMLFPINODCRTAES"
"""Capitals, the rarest first: small letters, digits and signs are everywhere in a mail log."""

_WITHIN = 512
"""Bytes of a whole line before its tail, at most: a bound for what one look costs."""

_NAMED = re.compile(rb"\(\?P<[a-z0-9_]+>")


def expressions(formats: Sequence[Format], *, whole: bool) -> list[bytes]:
    """Regular expressions for all the texts to search for; ``whole``: in whole lines too."""
    texts = _texts(formats)
    if not whole:
        for start, tail in _whole(formats):
            for text in texts:
                if (line := _beginning(formats, text, start)) is not None:
                    lead = re.escape(b": " + line)
                    texts[text] += rb"(?!(?<=%b)[^\n]{0,%d}%b)" % (lead, _WITHIN, tail)
    return [*_by_letter(texts), *_alike(texts)]


def _by_letter(texts: dict[bytes, bytes]) -> Iterator[bytes]:
    """One for all the texts that have a capital in common; takes them out of ``texts``."""
    while True:
        having = {
            letter: [text for text in sorted(texts) if letter in text]
            for letter in (bytes([byte]) for byte in _RARE)
        }
        letter = max(having, key=lambda one: len(having[one]))
        if len(having[letter]) < 2:
            return
        rests = []
        for text in having[letter]:
            rest = text[text.index(letter) + 1 :]
            rests.append(re.escape(rest) + b"(?<=%b)" % re.escape(text) + texts.pop(text))
        # Only the letter is taken, since one text may begin within another.
        yield letter + b"(?=%b)" % b"|".join(rests)


def _alike(texts: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """One for all the texts that begin alike."""
    alike: dict[bytes, list[bytes]] = {}
    for text in sorted(texts):
        alike.setdefault(text[:SHORTEST], []).append(text)
    for found in alike.values():
        # Sorted, so what the first and the last have in common all have.
        first, last = found[0], found[-1]
        pairs = enumerate(zip(first, last, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))
        rests = [re.escape(text[same:]) + texts[text] for text in found]
        yield re.escape(first[:same]) + b"(?:%b)" % b"|".join(rests)


def _texts(formats: Sequence[Format]) -> dict[bytes, bytes]:
    """What to search for, and the condition that must hold after it, as a regular expression.

    A text that contains another adds nothing.  A near literal is no hit where a rule's follows in
    it: ``LOGIN, `` in ``LOGIN, user=``, which ``, user=`` finds.
    """
    near = {near.literal for fmt in formats for near in fmt.near}
    rules = [(rule.texts, rule.literals) for fmt in formats for rule in fmt.rules]
    found = together(rules, sorted(near))
    texts = {text: b"" for text in found if not any(o in text for o in found if o != text)}
    # What serves some rule is looked at wherever it stands.
    for text in near & texts.keys() - together(rules, []):
        overlaps = ((other, _overlap(text, other)) for other in texts.keys() - near)
        rests = (other[size:] for other, size in overlaps if size)
        texts[text] = b"".join(b"(?!%b)" % re.escape(rest) for rest in rests)
    for fmt in formats:
        for cut in fmt.cut.rules if fmt.cut else ():
            # Before it stands the space that ends the header, or the bracket of what rsyslog has
            # wrapped; that is looked at last, since spaces are everywhere.
            syslog = fmt.header.name == "syslog"
            behind = rb"(?<=[ \[]%b)" % re.escape(cut.starts) if syslog else b""
            texts[cut.starts] = behind if texts.get(cut.starts, behind) == behind else b""
    return texts


def _overlap(text: bytes, other: bytes) -> int:
    """How many of the first bytes of ``other`` end ``text``, at most, but for all of either."""
    sizes = range(min(len(text), len(other)) - 1, 0, -1)
    return next((size for size in sizes if text.endswith(other[:size])), 0)


def _whole(formats: Sequence[Format]) -> Iterator[tuple[bytes, bytes]]:
    """Starts that may be cut, and a regular expression for the tail and the end of a whole line."""
    rules = {
        (rule.starts, rule.tail and rule.tail.pattern, fmt.header.name == "syslog")
        for fmt in formats
        for rule in (fmt.cut.rules if fmt.cut else ())
    }
    for start, tail, syslog in rules:
        alike = [one for one, *_ in rules if one.startswith(start) or start.startswith(one)]
        if tail is not None and syslog and len(alike) == 1:
            yield start, _NAMED.sub(b"(?:", tail).removesuffix(rb"\Z") + rb"\n"


def _beginning(formats: Sequence[Format], text: bytes, start: bytes) -> bytes | None:
    """A line with ``start`` up to the end of ``text`` in it, if the text says nothing there.

    ``None`` where it is not part of the start, or some rule or near literal may need it there.
    """
    rules = [rule for fmt in formats for rule in fmt.rules]
    near = [near.literal for fmt in formats for near in fmt.near]
    if text == start:
        needed = [*near, *(one for rule in rules for one in (*rule.literals, *rule.texts))]
        return None if any(text in one for one in needed) else start
    size = _overlap(start, text)
    before = start[:-size] if size else b""
    if not before or any(text in one for one in near):
        return None
    for one in near:
        # A near miss may be found by this text alone.
        if (common := _overlap(one, text)) and not _differ(one[:-common], before):
            return None
    return None if any(_may_need(rule, text, before) for rule in rules) else before + text


def _may_need(rule: Rule, text: bytes, before: bytes) -> bool:
    """Whether a message of the rule may be found by nothing but ``text`` behind ``before``."""
    serves = any(text in one for one in (*rule.literals, *rule.texts))
    for lead, one in zip(rule.leads, rule.texts, strict=True):
        at = one.find(text)
        if at >= 0 and all(_differ(end + one[:at], before) for end in lead):
            return False
    return serves


def _differ(one: bytes, other: bytes) -> bool:
    """Whether what ends in ``one`` cannot end in ``other``."""
    size = min(len(one), len(other))
    return size > 0 and one[-size:] != other[-size:]
