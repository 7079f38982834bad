"""What pop-before-smtp prints with ``--list``.  Pure.

Its versions 1.41 and 1.42 print, after what ``--version`` and ``--dumpconfig`` say if they were
given as well, ``The database holds N IPs:`` and then each address on a line of its own behind a
TAB, sorted; ``The database holds 0 IPs.`` where there is none (its source, ``if ($list_ips)``).
Of times it says nothing, as its database holds none: after a restart it lets what is there expire
one grace period later, and so do we, one window after the import.

An address a line without that heading is read as well, and behind it any one word: ``postmap -s``
prints its database so.  A word that is a time of this millennium is that of the last login.
"""

from __future__ import annotations

import re

from pbs_watch.exchange.parcel import Parcel, bad_line, quoted
from pbs_watch.grants.address import literal

_HEADING = re.compile(rb"(?m)^The database holds (\d+) IPs?([:.])[ \t\r]*$")
_TIME = re.compile(rb"[0-9]{9,10}").fullmatch


def has_heading(data: bytes) -> bool:
    """Whether the heading of a list stands in ``data``."""
    return _HEADING.search(data) is not None


def read(name: str, data: bytes, now: float, window: float) -> Parcel:
    """What the list in a file called ``name`` grants at ``now``; raises :class:`UsageError`.

    ``window``: seconds that a login grants.
    """
    parcel = Parcel()
    heading = _HEADING.search(data)
    # What comes before the heading is its settings.
    skipped = data.count(b"\n", 0, heading.start()) + 1 if heading else 0
    listed = number = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        found = line.split()
        if number <= skipped or not found:
            continue
        address = literal(found[0])
        if address is None or len(found) > 2:
            raise bad_line(name, number, f"{quoted(line)} is not an address")
        listed += 1
        timed = len(found) == 2 and _TIME(found[1])
        parcel.seen(address, float(found[1]) if timed else now, now, window)
    if heading and int(heading[1]) != listed:
        what = f"{listed} addresses are listed, not {int(heading[1])}: a part is missing"
        raise bad_line(name, skipped, what)
    return parcel
