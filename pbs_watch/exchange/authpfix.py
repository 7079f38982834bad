"""Rows of authpfix: ``ip logintime``, out of its MySQL table or its Postfix table.  Pure.

courier-auth-postfix keeps an address and the epoch seconds of its last login; a login time of 0
never expires ("Persistent entries" of its manual).  Read are

* plain columns, separated by spaces or TABs, as ``postmap -s`` and ``mysql --batch`` print them,
  with or without the header ``ip logintime``;
* the boxed table of ``mysql`` on a terminal, ``| ip | logintime |`` between ``+---+`` lines.

A permanent row becomes an order, every other one a login of nobody knows whom.
"""

from __future__ import annotations

import re

from pbs_watch.exchange.parcel import NOTE, Parcel, bad_line, quoted, relaying_network
from pbs_watch.grants.address import literal
from pbs_watch.grants.orders import Allow

_RULE = re.compile(rb"[+-]+").fullmatch
_SECONDS = re.compile(rb"[0-9]{1,15}").fullmatch
_HEADER = [b"ip", b"logintime"]


def columns(line: bytes) -> list[bytes]:
    """The columns of a line; none for one that separates, and for the header."""
    line = line.strip()
    if line.startswith(b"|") and line.endswith(b"|"):
        line = line.strip(b"|").replace(b"|", b" ")
    elif _RULE(line):
        return []
    found = line.split()
    return [] if [word.lower() for word in found] == _HEADER else found


def is_row(found: list[bytes]) -> bool:
    """Whether columns look like a row."""
    return len(found) == 2 and _SECONDS(found[1]) is not None and bool({*b".:"} & {*found[0]})


def read(name: str, data: bytes, now: float, window: float, *, force: bool = False) -> Parcel:
    """What the rows of a file called ``name`` grant at ``now``; raises :class:`UsageError`.

    ``window``: seconds that a login grants.  ``force``: networks of any width may be permanent.
    """
    parcel = Parcel()
    for number, line in enumerate(data.split(b"\n"), 1):
        found = columns(line)
        if not found:
            continue
        if len(found) != 2:
            what = f"{quoted(line)} is not an address and a login time"
            raise bad_line(name, number, what)
        text, seconds = found
        if not _SECONDS(seconds):
            what = f"login time {quoted(seconds)} is not in seconds since 1970"
            raise bad_line(name, number, what)
        if not int(seconds):
            try:
                subject = relaying_network(text, force=force)
            except ValueError as error:
                raise bad_line(name, number, str(error)) from None
            parcel.allows.append(Allow(subject, now, None, NOTE))
            continue
        address = literal(text)
        if address is None:
            raise bad_line(name, number, f"{quoted(text)} is not an address")
        parcel.seen(address, float(seconds), now, window)
    return parcel
