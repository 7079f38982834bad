"""How the map's rows look in LMDB: keys and values as bytes.

========  =================================  =====================================================
database  key                                value
========  =================================  =====================================================
grants    address                            expires, login, since, place, service NUL user
logins    address NUL user                   expires, login, since, place, service NUL
users     user NUL address                   empty: the same pairs by user
sessions  address NUL service NUL port NUL   until, began
          user
past      address NUL ended                  due, expires, login, since, place, service NUL user
refusals  address NUL reason NUL user        due, first, last, times, place, service
orders    kind, subject                      due, since, until, note
acts      number                             due, JSON
joins     source, digest of the rest         due, time, JSON
expiry    time, kind, the row's key          empty
sources   digest of the source's name        JSON
outbox    kind, key of a login or order      expires, or the order's record
shared    key of an order                    its latest record, as JSON
meta      name                               text
========  =================================  =====================================================

Addresses are canonical text, the form in which Postfix asks, so that a lookup needs no conversion;
with ``prefix = 64`` an IPv6 address is its network with ``/64`` behind.  Times are microseconds
since the epoch, unsigned and big-endian, so that they sort.  A place is source, file and offset.

Every row that ends by itself begins with the time when it does, and its database is one of
:data:`KINDS`: that is all that sweeping knows of it.
"""

from __future__ import annotations

import json
import struct

from pbs_watch.grants.address import prefix
from pbs_watch.grants.changes import Grant, Hold, Refusal, RefusalKey, SessionKey
from pbs_watch.grants.events import Half, JoinKey
from pbs_watch.grants.orders import MEMORY, Allow, Bar, Subject
from pbs_watch.log.position import Position, SourceState

SCHEMA = b"5"
"""Version of the layout above; :mod:`pbs_watch.grants.upgrade` knows the older ones."""

KINDS = {
    b"logins": b"L",
    b"sessions": b"S",
    b"past": b"P",
    b"refusals": b"R",
    b"orders": b"O",
    b"acts": b"A",
    b"joins": b"J",
}
"""The databases whose rows end by themselves, with the mark of each in the expiry index."""

LAST_ACT = b"acts"
"""Name in ``meta`` of the number of the operator's last act, which is the orders' version."""

TOLD_ACT = b"told"
"""Name in ``meta`` of the number of the last act that the audit trail has told."""

COPIED = b"copied"
"""Name in ``meta`` of the mark of a map that knows the orders in the copy beside it."""

RETENTION = b"retention"
"""Name in ``meta`` of the daemon's retention."""

SHARING = b"sharing"
"""Name in ``meta`` of whether the daemon shares its grants."""

OFFERED = b"offered"
"""Name in ``meta`` of the engine that has been offered all there was."""

OFFERING = b"offering"
"""Name in ``meta`` of the walk that offers all there is, unless something came that it may miss."""

SOURCE_NAME = b"source "
"""What stands in ``meta`` before a source's id; the value is its name."""

_GRANT = struct.Struct(">QQQQQQ")
_TIME = struct.Struct(">Q")
_TIMES = struct.Struct(">QQ")
_REFUSAL = struct.Struct(">QQQQQQQ")

LONGEST_NAME = 400
"""Bytes of a user, or of what else a key holds beside an address: a key of LMDB has 511."""

NEVER = b"\xff" * 8
"""A due time for what does not end by itself."""

LATEST = (1 << 63) / 1e6
"""Epoch seconds before which a time must lie that others gave us: 64 bits hold it, and what is
added to it."""


def micros(seconds: float) -> int:
    """Epoch seconds as the map keeps them."""
    return int(seconds * 1e6 + 0.5) if seconds > 0 else 0


def pack_time(seconds: float) -> bytes:
    """A time as a sortable key."""
    return _TIME.pack(micros(seconds))


def unpack_time(value: bytes) -> float:
    """What :func:`pack_time` packed, from the first eight bytes."""
    micro: int = _TIME.unpack_from(value)[0]
    return micro / 1e6


def later(packed: bytes, span: int) -> bytes:
    """A packed time and ``span`` microseconds."""
    return (int.from_bytes(packed, "big") + span).to_bytes(8, "big")


def pack_login(login: Grant) -> bytes:
    """A login as a value: a grant without its user, whom the key names."""
    expires, when, since, _, service, source, file, offset = login
    # micros(), written out: a busy log makes a hundred thousand rows a second.
    return (
        _GRANT.pack(
            int(expires * 1e6 + 0.5) if expires > 0 else 0,
            int(when * 1e6 + 0.5) if when > 0 else 0,
            int(since * 1e6 + 0.5) if since > 0 else 0,
            source,
            file,
            offset,
        )
        + service
        + b"\0"
    )


def fits(grant: Grant) -> bool:
    """Whether :func:`pack_login` can pack it."""
    return all(0.0 <= time < LATEST for time in grant[:3])


def pack_grant(grant: Grant) -> bytes:
    """A grant as a value."""
    return pack_login(grant) + grant[3]


def join_rows(old: bytes, new: bytes) -> bytes:
    """What :meth:`Grant.joined` makes of two packed grants, or logins."""
    if old[:8] <= new[:8] and old[8:16] < new[8:16]:
        if old[16:24] < new[16:24] <= old[:8]:
            return new[:16] + old[16:24] + new[24:]
        return new
    return pack_grant(unpack_grant(old).joined(unpack_grant(new)))


def is_gap(old: bytes, new: bytes) -> bool:
    """Whether a packed grant had ended before the first of the new logins."""
    return old[:8] < new[16:24]


def counts(value: bytes, now: float) -> bool:
    """Whether a packed grant counts at ``now`` by itself; raises as :func:`unpack_grant`."""
    value.index(b"\0", _GRANT.size)
    return int(_TIME.unpack_from(value)[0]) > now * 1e6


def pack_moment(now: float) -> bytes:
    """A moment for :func:`counts_at`: unlike :func:`pack_time` never later than ``now``."""
    return _TIME.pack(int(now * 1e6) if now > 0 else 0)


def counts_at(value: bytes, moment: bytes) -> bool:
    """As :func:`counts`, for many values at one moment."""
    value.index(b"\0", _GRANT.size)
    return value[:8] > moment


def unpack_grant(value: bytes) -> Grant:
    """What :func:`pack_grant` or :func:`pack_login` packed; of the latter without a user.

    Raises ``struct.error`` or ``ValueError`` on other bytes.
    """
    expires, login, since, source, file, offset = _GRANT.unpack_from(value)
    service, user = value[_GRANT.size :].split(b"\0", 1)
    return Grant(expires / 1e6, login / 1e6, since / 1e6, user, service, source, file, offset)


def login_key(address: bytes, user: bytes) -> bytes:
    """Key of a login."""
    return address + b"\0" + user


def parse_login_key(key: bytes) -> tuple[bytes, bytes]:
    """Address and user of a login; raises ValueError."""
    address, user = key.split(b"\0", 1)
    return address, user


def user_key(key: bytes) -> bytes:
    """Key in ``users`` of the login with ``key``."""
    address, _, user = key.partition(b"\0")
    return user + b"\0" + address


def parse_user_key(key: bytes) -> tuple[bytes, bytes]:
    """User and address of a row in ``users``; raises ValueError."""
    user, address = key.rsplit(b"\0", 1)
    return user, address


def pack_hold(hold: Hold) -> bytes:
    """A session as a value."""
    return _TIMES.pack(micros(hold.until), micros(hold.began))


def unpack_hold(value: bytes) -> Hold:
    """What :func:`pack_hold` packed; raises ``struct.error``."""
    until, began = _TIMES.unpack_from(value)
    return Hold(until / 1e6, began / 1e6)


def session_key(address: bytes, key: SessionKey) -> bytes:
    """Key of a session; the user comes last, since only he may be long."""
    return b"\0".join((address, key.service, key.port, key.user))


def parse_session_key(key: bytes) -> tuple[bytes, SessionKey]:
    """Address and session key that :func:`session_key` joined."""
    address, service, port, user = key.split(b"\0", 3)
    return address, SessionKey(service, user, port)


def pack_past(due: float, grant: bytes) -> bytes:
    """A packed grant that is over, to be remembered until ``due``."""
    return pack_time(due) + grant


def unpack_past(value: bytes) -> Grant:
    """The grant that :func:`pack_past` packed."""
    return unpack_grant(value[8:])


def refusal_key(key: RefusalKey) -> bytes:
    """Key of a refusal."""
    return b"\0".join((key.address, key.reason.encode(), key.user))


def parse_refusal_key(key: bytes) -> RefusalKey:
    """What :func:`refusal_key` joined."""
    address, reason, user = key.split(b"\0", 2)
    return RefusalKey(address, reason.decode(), user)


def pack_refusal(due: float, refusal: Refusal) -> bytes:
    """A refusal as a value, to be remembered until ``due``."""
    first, last, times, service, *place = refusal
    return _REFUSAL.pack(micros(due), micros(first), micros(last), times, *place) + service


def unpack_refusal(value: bytes) -> Refusal:
    """What :func:`pack_refusal` packed; raises ``struct.error``."""
    _, first, last, times, *place = _REFUSAL.unpack_from(value)
    return Refusal(first / 1e6, last / 1e6, times, value[_REFUSAL.size :], *place)


def source_key(name: str) -> bytes:
    """Key of a source: a digest, since a path may be longer than a key can be (511 bytes)."""
    from hashlib import blake2b  # noqa: PLC0415 - 5 ms, which `get` does without

    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def source_id(name: str) -> int:
    """The number by which a place names its source."""
    return int.from_bytes(source_key(name)[:8], "big")


def pack_source(name: str, state: SourceState) -> bytes:
    """A source's positions and doubts as JSON."""
    positions = [
        [
            at.device,
            at.inode,
            at.offset,
            at.anchor.hex(),
            at.skipping,
            at.modified,
            at.generation,
        ]
        for at in state.positions
    ]
    value = {
        "name": name.encode("utf-8", "surrogateescape").hex(),
        "positions": positions,
        "cursor": state.cursor,
        "cuts": state.cuts,
    }
    return json.dumps(value, separators=(",", ":")).encode()


def unpack_source(value: bytes) -> tuple[str, SourceState]:
    """What :func:`pack_source` packed; raises ValueError, KeyError or TypeError on other bytes."""
    row = json.loads(value)
    name = bytes.fromhex(row["name"]).decode("utf-8", "surrogateescape")
    positions = tuple(
        Position(
            int(device),
            int(inode),
            int(offset),
            bytes.fromhex(anchor),
            bool(skipping),
            int(modified),
            int(generation),
        )
        for device, inode, offset, anchor, skipping, modified, generation in row["positions"]
    )
    return name, SourceState(positions, row["cuts"], row["cursor"])


def join_prefix(source: int) -> bytes:
    """How the keys of the lines of a source begin that wait for a second one."""
    return source.to_bytes(8, "big")


def join_key(source: int, key: JoinKey) -> bytes:
    """Key of a line that waits for a second one: a digest, since its parts may be long."""
    from hashlib import blake2b  # noqa: PLC0415 - as in source_key()

    text = b"\0".join((key.format.encode(), key.host, key.service, key.key))
    return join_prefix(source) + blake2b(text, digest_size=16).digest()


def pack_half(due: float, key: JoinKey, half: Half) -> bytes:
    """A line that waits for a second one as a value, to be kept until ``due``."""
    kind, time, *said = half
    texts = [key.format, kind, *(part.decode("latin-1") for part in (*key[1:], *said))]
    return pack_time(due) + pack_time(time) + json.dumps(texts, separators=(",", ":")).encode()


def unpack_half(value: bytes) -> tuple[JoinKey, Half]:
    """What :func:`pack_half` packed; raises ValueError, TypeError or struct.error."""
    name, kind, *texts = json.loads(value[16:])
    host, service, key, address, user, port = (text.encode("latin-1") for text in texts)
    time = unpack_time(value[8:16])
    return JoinKey(name, host, service, key), Half(kind, time, address, user, port)


def text_of(raw: bytes) -> str:
    """Bytes of a log as text that :func:`bytes_of` turns back."""
    return raw.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """What :func:`text_of` turned to text."""
    return text.encode("utf-8", "surrogateescape")


_ORDER = struct.Struct(">QQQ")
_SUBJECTS: dict[Subject, bytes] = {"network": b"N", "user": b"U", "everybody": b"E"}
_SUBJECT_OF = {mark: subject for subject, mark in _SUBJECTS.items()}
_ALLOW, _BAR = b"A", b"B"


def order_key(order: Allow | Bar) -> bytes:
    """Key of an order."""
    if isinstance(order, Allow):
        return _ALLOW + order.network
    return _BAR + _SUBJECTS[order.subject] + order.name


def check_network(name: bytes) -> None:
    """Raise ValueError where a network's name is not one."""
    try:
        size, length, _ = prefix(name)
    except OSError as error:
        raise ValueError(f"an order about no network: {error}") from None
    if not 0 <= length <= size:
        raise ValueError("an order about no network")


def pack_order(order: Allow | Bar) -> bytes:
    """An order as a value; a bar is due when it cannot matter any more."""
    since, until = pack_time(order.since), order.until
    end = NEVER if until is None else pack_time(until)
    due = end if isinstance(order, Allow) else pack_time(order.until + MEMORY)
    return due + since + end + order.note.encode("utf-8", "surrogateescape")


def unpack_order(key: bytes, value: bytes) -> Allow | Bar:
    """What :func:`order_key` and :func:`pack_order` packed; raises ValueError or struct.error."""
    _, since, until = _ORDER.unpack_from(value)
    note = text_of(value[_ORDER.size :])
    if key[:1] == _ALLOW:
        check_network(key[1:])
        ends = None if value[16:24] == NEVER else until / 1e6
        return Allow(key[1:], since / 1e6, ends, note)
    subject = _SUBJECT_OF.get(key[1:2])
    if subject is None:
        raise ValueError("an order of no kind")
    if subject == "network":
        check_network(key[2:])
    return Bar(subject, key[2:], since / 1e6, until / 1e6, note)
