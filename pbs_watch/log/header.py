"""Log headers: the part of a line before the message.

A header is a regular expression over bytes, matched at the start of a line; the message begins
where it ends.  Its named groups are optional: one of ``bsd``, ``bsdyear``, ``rfc3339``, ``slash``
and ``tai64n`` (the stamp), ``host``, ``tag`` and ``pid``.  All pieces are possessive or of fixed
length, and the few that are optional may give way once, so that matching takes linear time.
(Optional groups are not possessive themselves: Python 3.11.2, Debian 12's, goes on behind what a
group had taken before it failed, and would read ``00.Z`` as a stamp.)

``SYSLOG`` takes the forms of facts/courier.md, "Syslog daemons": BSD stamps with the day padded
or not, RFC 3339 stamps with 0 to 9 fraction digits, ``<pri>`` in front, the host missing or
``(none)``, FreeBSD's ``<mail.info>``, ``[pid]`` and Solaris' ``[ID 702911 mail.info]``.

A host never ends in a colon.  Otherwise the message of a foreign program in a log without hosts
("foo: pop3d: LOGIN, ...") would be read as host ``foo:`` and tag ``pop3d``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STAMPS: dict[str, bytes] = {
    "bsd": rb"[A-Z][a-z]{2} {1,2}+\d{1,2}+ \d\d:\d\d:\d\d",
    "bsdyear": rb"[A-Z][a-z]{2} {1,2}+\d{1,2}+ \d{4} \d\d:\d\d:\d\d",
    "rfc3339": rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9}+)?(?:Z|[+-]\d\d:\d\d)",
    "slash": rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d",
    "tai64n": rb"@[0-9a-f]{24}",
}
"""The stamps by their names in the pattern language, as regular expressions without groups."""

HOST = rb"(?:[A-Za-z0-9_.-]{1,255}+|\(none\)|[0-9A-Fa-f:.]{2,45}+(?<!:))"
"""A host as syslog daemons write it: a name, ``(none)``, or an address."""

TAG = rb"[A-Za-z0-9_./-]{1,64}+"
"""A syslog tag: a program name, without the pid and the colon."""

PID = rb"\d{1,10}+"
"""A process id."""

_LEVEL = rb"(?:<[a-z0-9]{1,12}+\.[a-z]{1,12}+> )?"

BEFORE_TAG = (
    rb"(?:<\d{1,3}+>)?"
    rb"(?:(?P<bsd>" + STAMPS["bsd"] + rb")|(?P<rfc3339>" + STAMPS["rfc3339"] + rb")) "
    + _LEVEL
    + rb"(?:(?P<host>" + HOST + rb") )?"
    + _LEVEL
)  # fmt: skip
AFTER_TAG = (
    rb"(?:\[(?P<pid>" + PID + rb")\])?: (?:\[ID \d{1,10}+ [a-z0-9]{1,12}+\.[a-z]{1,12}+\] )?"
)

SYSLOG = BEFORE_TAG + rb"(?P<tag>" + TAG + rb")" + AFTER_TAG
"""The header ``syslog`` of the pattern language."""


@dataclass(frozen=True, slots=True)
class Header:
    """One kind of header: its name in pattern files and its compiled regular expression."""

    name: str
    regex: re.Pattern[bytes]


SYSLOG_HEADER = Header("syslog", re.compile(SYSLOG))
