"""How the map's rows look in LMDB: keys and values as bytes.

=========  =======================================  ==========================================
database   key                                      value
=========  =======================================  ==========================================
grants     address                                  expires, login, permanent, service NUL user
logins     address NUL user                         expires, login, permanent, service NUL
sessions   address NUL service NUL port NUL user    until
expiry     time, kind, the row's key                empty
sources    digest of the source's name              JSON
meta       name                                     text
=========  =======================================  ==========================================

Addresses are canonical text, the form in which Postfix asks, so that a lookup needs no conversion.
Times are microseconds since the epoch, unsigned and big-endian, so that they sort.
"""

from __future__ import annotations

import json
import struct

from pbs_watch.grants.changes import Grant, SessionKey
from pbs_watch.log.position import Position, SourceState

SCHEMA = b"2"
"""Version of the layout above; :mod:`pbs_watch.grants.upgrade` knows the older ones."""

LOGIN_ROW = b"L"
SESSION_ROW = b"S"

_TIMES = struct.Struct(">QQ?")
_TIME = struct.Struct(">Q")


def micros(seconds: float) -> int:
    """Epoch seconds as the map keeps them."""
    return int(seconds * 1e6) if seconds > 0 else 0


def pack_time(seconds: float) -> bytes:
    """A time as a sortable key."""
    return _TIME.pack(micros(seconds))


def unpack_time(value: bytes) -> float:
    """What :func:`pack_time` packed, from the first eight bytes."""
    micro: int = _TIME.unpack_from(value)[0]
    return micro / 1e6


def pack_login(login: Grant) -> bytes:
    """A login as a value: a grant without its user, whom the key names."""
    expires, when, _, service, permanent = login
    # micros(), written out: a busy log makes a hundred thousand rows a second.
    return (
        _TIMES.pack(
            int(expires * 1e6) if expires > 0 else 0,
            int(when * 1e6) if when > 0 else 0,
            permanent,
        )
        + service
        + b"\0"
    )


def pack_grant(grant: Grant) -> bytes:
    """A grant as a value."""
    return pack_login(grant) + grant[2]


def join_rows(old: bytes, new: bytes) -> bytes:
    """What :meth:`Grant.joined` makes of two packed grants, or logins."""
    if old[:8] <= new[:8] and old[8:16] < new[8:16] and old[16] <= new[16]:
        return new
    return pack_grant(unpack_grant(old).joined(unpack_grant(new)))


def counts(value: bytes, now: float) -> bool:
    """Whether a packed grant counts at ``now`` by itself; raises as :func:`unpack_grant`."""
    expires, _, permanent = _TIMES.unpack_from(value)
    value.index(b"\0", _TIMES.size)
    return bool(permanent or expires > now * 1e6)


def unpack_grant(value: bytes) -> Grant:
    """What :func:`pack_grant` or :func:`pack_login` packed; of the latter without a user.

    Raises ``struct.error`` or ``ValueError`` on other bytes.
    """
    expires, login, permanent = _TIMES.unpack_from(value)
    service, user = value[_TIMES.size :].split(b"\0", 1)
    return Grant(expires / 1e6, login / 1e6, user, service, permanent)


def session_key(address: bytes, key: SessionKey) -> bytes:
    """Key of a session; the user comes last, since only he may be long."""
    return b"\0".join((address, key.service, key.port, key.user))


def parse_session_key(key: bytes) -> tuple[bytes, SessionKey]:
    """Address and session key that :func:`session_key` joined."""
    address, service, port, user = key.split(b"\0", 3)
    return address, SessionKey(service, user, port)


def source_key(name: str) -> bytes:
    """Key of a source: a digest, since a path may be longer than a key can be (511 bytes)."""
    from hashlib import blake2b  # noqa: PLC0415 - 5 ms, which `get` does without

    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


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
