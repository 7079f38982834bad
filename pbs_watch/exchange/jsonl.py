r"""JSON Lines: everything in a map that matters, exactly.  Pure.

The first line is ``{"pbs-watch": 1}``, the version of this format.  Each other line is one row:

=========  ========================================================================================
kind       what it is
=========  ========================================================================================
allow      ``network`` may relay; ``until`` ``null``: permanently
bar        logins up to ``until`` of ``subject`` (network, user, everybody) ``name`` are void
login      of ``user`` from ``address`` by ``service``
grant      of ``address``, where it is not what its logins make together: an open session keeps it,
           or began it
session    of ``address`` that is open: ``began``, holds it ``until``
past       a grant of ``address`` that ``ended``
refusal    of ``address``, by ``reason`` and ``user``: ``times``, ``first`` and ``last``
=========  ========================================================================================

How far the logs have been read and what the operator did stay where they are.  Times are epoch
seconds with microseconds, which is what the map keeps.  A ``place`` is where the line stands: the
log, the file's inode number and the offset.  User names are bytes of a log, not always UTF-8: a
byte that is not stands as ``\udcXX`` (Python's surrogateescape); the lines are ASCII.

They hold personal data: who read mail when and from where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from json import encoder
from typing import TypeAlias

from pbs_watch.exchange.parcel import LATEST
from pbs_watch.grants import rows
from pbs_watch.grants.changes import Grant, Hold, Refusal, RefusalKey, SessionKey
from pbs_watch.grants.orders import Allow, Bar

VERSION = 1

_LATEST = LATEST * 1_000_000 - 1
"""Microseconds: what ends later than an import takes ends there, in 2106."""

Row: TypeAlias = tuple[bytes, bytes]
"""A key of the map and its value."""

_Names: TypeAlias = dict[int, str]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a map at one moment, as they stand there, in order; ``names`` of sources."""

    orders: list[Row]
    logins: list[Row]
    grants: list[Row]
    sessions: list[Row]
    past: list[Row]
    refusals: list[Row]
    names: _Names


quote = encoder.encode_basestring_ascii
"""A text as JSON, in ASCII."""


def lines(found: Rows) -> Iterator[bytes]:
    """The lines for these rows, the same for the same rows."""
    yield b'{"pbs-watch": %d}\n' % VERSION
    for key, value in found.orders:
        yield _order_line(rows.unpack_order(key, value))
    for key, value in found.logins:
        address, _, user = key.partition(b"\0")
        yield _grant_line("login", address, rows.unpack_grant(value + user), found.names)
    yield from _grant_lines(found)
    for key, value in found.sessions:
        yield _session_line(*rows.parse_session_key(key), rows.unpack_hold(value))
    for key, value in found.past:
        address, _, ended = key.partition(b"\0")
        more = f', "ended": {_time(rows.unpack_time(ended))}'
        yield _grant_line("past", address, rows.unpack_past(value), found.names, more)
    for key, value in found.refusals:
        refusal = rows.unpack_refusal(value)
        yield _refusal_line(rows.parse_refusal_key(key), refusal, found.names)


def _grant_lines(found: Rows) -> Iterator[bytes]:
    """Lines for the grants that the import will not make out of the logins by itself."""
    made: dict[bytes, bytes] = {}
    for key, value in found.logins:
        address, _, user = key.partition(b"\0")
        old = made.get(address)
        made[address] = value + user if old is None else rows.join_rows(old, value + user)
    for address, value in found.grants:
        if made.get(address) != value:
            yield _grant_line("grant", address, rows.unpack_grant(value), found.names)


def _time(seconds: float) -> str:
    micro = min(rows.micros(seconds), _LATEST)
    return f"{micro // 1_000_000}.{micro % 1_000_000:06}"


def _until(seconds: float) -> str:
    """A time up to which logins are void, rounded so that it is the same ones for ever."""
    micro = min(rows.micros(seconds), _LATEST)
    return _time((micro - (micro / 1e6 > seconds)) / 1e6)


def _text(raw: bytes) -> str:
    return quote(rows.text_of(raw))


def _place(place: Sequence[int], names: _Names) -> str:
    source, file, offset = place
    if not (source or file or offset):
        return "null"
    name = names.get(source)
    # A number where the map has forgotten how the log is called, or another name has its id.
    known = name is not None and rows.source_id(name) == source if source else False
    return f"[{quote(name) if known and name is not None else source}, {file}, {offset}]"


def _grant_line(kind: str, address: bytes, grant: Grant, names: _Names, more: str = "") -> bytes:
    expires, login, since, user, service, *place = grant
    line = (
        f'{{"kind": "{kind}", "address": {_text(address)}, "user": {_text(user)}, '
        f'"service": {_text(service)}, "login": {_time(login)}, "since": {_time(since)}, '
        f'"expires": {_time(expires)}{more}, "place": {_place(place, names)}}}\n'
    )
    return line.encode("ascii")


def _session_line(address: bytes, key: SessionKey, hold: Hold) -> bytes:
    line = (
        f'{{"kind": "session", "address": {_text(address)}, "user": {_text(key.user)}, '
        f'"service": {_text(key.service)}, "port": {_text(key.port)}, '
        f'"began": {_time(hold.began)}, "until": {_time(hold.until)}}}\n'
    )
    return line.encode("ascii")


def _refusal_line(key: RefusalKey, refusal: Refusal, names: _Names) -> bytes:
    first, last, times, service, *place = refusal
    line = (
        f'{{"kind": "refusal", "address": {_text(key.address)}, "reason": {quote(key.reason)}, '
        f'"user": {_text(key.user)}, "service": {_text(service)}, "first": {_time(first)}, '
        f'"last": {_time(last)}, "times": {times}, "place": {_place(place, names)}}}\n'
    )
    return line.encode("ascii")


def _order_line(order: Allow | Bar) -> bytes:
    if isinstance(order, Allow):
        until = "null" if order.until is None else _time(order.until)
        what = f'"allow", "network": {_text(order.network)}'
    else:
        until = _until(order.until)
        what = f'"bar", "subject": {quote(order.subject)}, "name": {_text(order.name)}'
    line = (
        f'{{"kind": {what}, "since": {_time(order.since)}, "until": {until}, '
        f'"note": {quote(order.note)}}}\n'
    )
    return line.encode("ascii")


def rows_of(read_all: Callable[[bytes], list[Row]], names: Iterable[Row]) -> Rows:
    """The rows of a map by the function that gives those of one table."""
    found: _Names = {}
    for key, value in names:
        number = key.removeprefix(rows.SOURCE_NAME)
        if number != key:
            found[int(number, 16)] = rows.text_of(value)
    return Rows(
        read_all(b"orders"),
        read_all(b"logins"),
        read_all(b"grants"),
        read_all(b"sessions"),
        read_all(b"past"),
        read_all(b"refusals"),
        found,
    )
