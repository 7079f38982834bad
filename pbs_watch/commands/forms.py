"""How what the map holds is shown: grants, sessions and orders as columns and as JSON.

What came from the network is shown so that nothing in it may steer a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from pbs_watch.durations import local
from pbs_watch.escape import shown
from pbs_watch.grants.address import prefix
from pbs_watch.grants.listing import Row, Session
from pbs_watch.grants.orders import Allow, Bar

_Item = TypeVar("_Item")


class Times(dict[int, str]):
    """Local times by the second, each made once.

    With ``now`` they are short: those of today without the date, others without the seconds.
    """

    def __init__(self, now: float | None = None) -> None:
        self._today = None if now is None else local(now)[:10]

    def __missing__(self, second: int) -> str:
        text = local(second)
        if self._today is not None:
            text = text[11:] if text.startswith(self._today) else text[:16]
        self[second] = text
        return text


class Form(NamedTuple, Generic[_Item]):
    """How one kind of rows is shown.

    ``columns`` are those of a pipe, ``brief`` those of a terminal, under ``titles``; a column that
    is empty in all rows is left out there.  ``keys`` are what rows can be sorted by.
    """

    titles: tuple[str, ...]
    columns: Callable[[list[_Item]], Iterable[str]]
    brief: Callable[[_Item, Times], tuple[str, ...]]
    as_json: Callable[[list[_Item]], Iterable[str]]
    keys: dict[str, Callable[[_Item], object]]


def counted(number: int, noun: str, plural: str = "s") -> str:
    """``1 line``, ``1,024 lines``."""
    return f"{number:,} {noun}{plural if number != 1 else ''}"


def _all_shown(names: Sequence[bytes], *, quoted: bool = False) -> list[str]:
    """What :func:`shown` makes of each, or JSON of it; at once where there is nothing odd."""
    joined = b"\n".join(names)
    if joined.isascii() and joined.count(b"\n") == len(names) - 1:
        text = joined.decode("ascii")
        if text.replace("\n", "").isprintable() and "\\" not in text:
            if not quoted:
                return text.split("\n")
            if '"' not in text:
                return f'"{text}"'.replace("\n", '"\n"').split("\n")
    found = [shown(name) for name in names]
    return [json.dumps(text) for text in found] if quoted else found


# Grants: a million of them take a second or two, so that each part is made at once.


def _grant_columns(found: list[Row]) -> list[str]:
    times = _SECONDS
    address, user, service, login, expires, _ = zip(*found, strict=True)
    names = _all_shown(address), _all_shown(user), _all_shown(service)
    return [
        f"{where}\t{who}\t{what}\t{times[since // 1_000_000]}\t"
        f"{'permanent' if due is None else times[due // 1_000_000]}\n"
        for where, who, what, since, due in zip(*names, login, expires, strict=True)
    ]


_SECONDS = Times()


def _grants_as_json(found: list[Row]) -> list[str]:
    address, user, service, login, expires, note = zip(*found, strict=True)
    names = [_all_shown(some, quoted=True) for some in (address, user, service)]
    ends = [f'{end}, "permanent": false' for end in _seconds([due or 0 for due in expires])]
    if None in expires:
        for number, due in enumerate(expires):
            if due is None:
                ends[number] = 'null, "permanent": true'
    notes = map(json.dumps, note) if any(note) else ['""'] * len(note)
    return [
        f'{{"address": {where}, "user": {who}, "service": {what}, '
        f'"login": {since}, "expires": {end}, "note": {words}}}'
        for where, who, what, since, end, words in zip(
            *names, _seconds(login), ends, notes, strict=True
        )
    ]


def _seconds(micros: Sequence[int]) -> list[str]:
    """Seconds as JSON; a float's shortest text takes longer than all the rest of a row."""
    if min(micros) < 1_000_000:  # before 1970 had its first second: too few digits
        return [f"{time / 1e6:.6f}" for time in micros]
    return [f"{digits[:-6]}.{digits[-6:]}" for digits in map(str, micros)]


def _brief_grant(row: Row, times: Times) -> tuple[str, ...]:
    address, user, service, login, expires, _ = row
    until = "permanent" if expires is None else times[expires // 1_000_000]
    since = times[login // 1_000_000]
    return shown(address), shown(user), shown(service), since, until


def _by_address(address: bytes) -> tuple[int, int, int]:
    """IPv4 before IPv6, each in the order of the numbers."""
    size, length, first = prefix(address)
    return size, first, length


GRANTS: Form[Row] = Form(
    ("ADDRESS", "USER", "SERVICE", "LOGIN", "EXPIRES"),
    _grant_columns,
    _brief_grant,
    _grants_as_json,
    {
        "address": lambda row: _by_address(row[0]),
        "user": lambda row: row[1],
        "service": lambda row: row[2],
        "login": lambda row: row[3],
        "expires": lambda row: float("inf") if row[4] is None else row[4],
    },
)

# Sessions


def _session_columns(found: list[Session]) -> Iterator[str]:
    for one in found:
        names = map(shown, (one.address, one.user, one.service, one.port))
        yield "\t".join((*names, local(one.began), local(one.until))) + "\n"


def _sessions_as_json(found: list[Session]) -> Iterator[str]:
    for one in found:
        names = ("address", "user", "service", "port")
        row = {name: shown(getattr(one, name)) for name in names}
        yield json.dumps({**row, "began": one.began, "until": one.until})


def _brief_session(one: Session, times: Times) -> tuple[str, ...]:
    names = map(shown, (one.address, one.user, one.service, one.port))
    return (*names, times[int(one.began)], times[int(one.until)])


SESSIONS: Form[Session] = Form(
    ("ADDRESS", "USER", "SERVICE", "PORT", "BEGAN", "UNTIL"),
    _session_columns,
    _brief_session,
    _sessions_as_json,
    {
        "address": lambda one: _by_address(one.address),
        "user": lambda one: one.user,
        "service": lambda one: one.service,
        "login": lambda one: one.began,
        "expires": lambda one: one.until,
    },
)

# Orders


def order_word(order: Allow | Bar) -> str:
    """What kind of order it is: a revocation is a bar that reaches up to when it was given."""
    if isinstance(order, Allow):
        return "allow"
    return "block" if order.until > order.since else "revoke"


def order_subject(order: Allow | Bar) -> str:
    """What an order is about: a network, ``user`` and his name, or ``everybody``."""
    if isinstance(order, Allow):
        return shown(order.network)
    return {"network": "", "user": "user "}.get(order.subject, order.subject) + shown(order.name)


def _order_columns(found: list[Allow | Bar]) -> Iterator[str]:
    for order in found:
        until = "permanent" if order.until is None else local(order.until)
        words = (order_word(order), order_subject(order), local(order.since), until)
        yield "\t".join((*words, shown(order.note.encode("utf-8", "surrogateescape")))) + "\n"


def _orders_as_json(found: list[Allow | Bar]) -> Iterator[str]:
    for order in found:
        yield json.dumps(order_fields(order))


def order_fields(order: Allow | Bar) -> dict[str, object]:
    """An order as in JSON."""
    return {
        "order": order_word(order),
        "subject": order_subject(order),
        "since": order.since,
        "until": order.until,
        "note": order.note,
    }


def _brief_order(order: Allow | Bar, times: Times) -> tuple[str, ...]:
    until = "permanent" if order.until is None else times[int(order.until)]
    note = shown(order.note.encode("utf-8", "surrogateescape"))
    return order_word(order), order_subject(order), times[int(order.since)], until, note


def _order_address(order: Allow | Bar) -> tuple[int, int, int]:
    if isinstance(order, Allow):
        return _by_address(order.network)
    # Users, and everybody, come after all networks.
    return _by_address(order.name) if order.subject == "network" else (256, 0, 0)


ORDERS: Form[Allow | Bar] = Form(
    ("ORDER", "SUBJECT", "SINCE", "UNTIL", "NOTE"),
    _order_columns,
    _brief_order,
    _orders_as_json,
    {
        "address": _order_address,
        "login": lambda order: order.since,
        "expires": lambda order: float("inf") if order.until is None else order.until,
    },
)
