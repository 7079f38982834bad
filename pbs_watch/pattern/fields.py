r"""The fields of the pattern language, and how each becomes a regular expression.

Every field is bounded in length and excludes control bytes, so that NUL, CR and newline are never
inside one.  There are two sorts:

- A *restricted* field takes as many bytes of its class as are allowed, and gives none back.  Where
  the literal that follows begins with a byte of the class, it takes the longest run that this
  literal follows (``address ":" port``).
- *Free text* (``user`` and ``text``) takes any bytes and ends before the first occurrence of the
  literal that follows it, which it therefore never contains.

Both are atomic, so each costs at most its bound times the length of one literal, once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from pbs_watch.log.header import HOST, PID, STAMPS, TAG


@cache
def _class(one: bytes) -> frozenset[int]:
    return frozenset(b"".join(re.findall(one, bytes(range(256)), re.DOTALL)))


@dataclass(frozen=True, slots=True)
class FieldKind:
    """A field: a class of bytes (a regular expression for one), and how many it may take.

    ``captured`` is the name of the group that holds it in a rule, or empty.  ``free``: the field
    is free text.
    """

    one: bytes
    least: int
    most: int
    captured: str = ""
    free: bool = False

    @property
    def allowed(self) -> frozenset[int]:
        """The bytes the field may consist of."""
        return _class(self.one)

    def looks_ahead(self, following: bytes) -> bool:
        """Whether the field ends where the literal ``following`` begins, not with its class."""
        return bool(following) and (self.free or following[0] in self.allowed)

    def regex(self, following: bytes) -> bytes:
        """The field, where the literal ``following`` comes next (empty: there is none)."""
        size = b"{%d,%d}" % (self.least, self.most)
        group = b"(?P<%s>" % self.captured.encode() if self.captured else b"(?:"
        after = re.escape(following)
        if not self.looks_ahead(following):
            return group + self.one + size + b"+)"
        if self.free:
            # Nearly always the first byte of the literal stands nowhere before it: one quick run.
            run = b"%s%s]%s+" % (self.one[:-1], re.escape(following[:1]), size)
            careful = b"(?:(?!%s)%s)%s" % (after, self.one, size)
            return b"(?>%s%s(?=%s)|%s)(?=%s))" % (group, run, after, careful, after)
        return b"(?>%s%s%s)(?=%s))" % (group, self.one, size, after)


_FREE = rb"[^\x00-\x1f\x7f]"
_NAME = rb"[^\x00-\x20\x7f\"'`<>()\[\]{},;=\\]"
_WORD = rb"[^\x00-\x20\x7f\"'`<>()\[\]{},;]"
_ADDRESS = rb"[0-9A-Fa-f:.]"

RULE_FIELDS: dict[str, FieldKind] = {
    "address": FieldKind(_ADDRESS, 2, 45, "address"),
    "port": FieldKind(rb"[0-9]", 1, 5, "port"),
    "user": FieldKind(_FREE, 1, 255, "user", free=True),
    "name": FieldKind(_NAME, 1, 255, "user"),
    "session": FieldKind(rb"[0-9A-Za-z+/=_.-]", 1, 64, "session"),
    "seconds": FieldKind(rb"[0-9]", 1, 20, "seconds"),
    "text": FieldKind(_FREE, 1, 1024, free=True),
    "word": FieldKind(_WORD, 1, 255),
    "number": FieldKind(rb"[0-9]", 1, 20),
    "ip": FieldKind(_ADDRESS, 2, 45),
    "host": FieldKind(rb"[0-9A-Za-z_.:-]", 1, 255),
    "pid": FieldKind(rb"[0-9]", 1, 10),
}
"""The fields of messages.  45 bytes hold the longest spelling of an IPv6 address."""

HEADER_WORDS: dict[str, FieldKind] = {
    "word": RULE_FIELDS["word"],
    "number": RULE_FIELDS["number"],
}
"""The fields of headers that capture nothing."""

HEADER_GROUPS: dict[str, bytes] = {**STAMPS, "host": HOST, "tag": TAG, "pid": PID}
"""The fields of headers that become a group of their name, as regular expressions."""

HEADER_FIELDS = (*HEADER_GROUPS, *HEADER_WORDS)
"""The names of the fields of headers."""
