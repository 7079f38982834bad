"""``get`` and ``list``: what is committed in the map."""

from __future__ import annotations

import argparse
import json
import sys
import time

from pbs_watch.commands.settings import settings
from pbs_watch.durations import local
from pbs_watch.grants.address import literal
from pbs_watch.grants.changes import Grant
from pbs_watch.grants.store import Map

Row = tuple[bytes, Grant]


def get(arguments: argparse.Namespace) -> int:
    """Print the value of one key; 1 where it is not found."""
    config = settings(arguments)
    grants = Map(config.map, "read")
    try:
        address = literal(arguments.key.encode("utf-8", "surrogateescape"))
        if address is None or not grants.allows(address, time.time()):
            return 1
    finally:
        grants.close()
    print(config.answer)
    return 0


def list_grants(arguments: argparse.Namespace) -> int:
    """Print the grants, as JSON, as a table on a terminal, or as plain columns."""
    config = settings(arguments)
    grants = Map(config.map, "read")
    try:
        found = grants.grants(time.time())
    finally:
        grants.close()
    if arguments.json:
        print(json.dumps([_as_json(row) for row in found], indent=1))
    elif sys.stdout.isatty():
        _table(found)
    else:
        for row in found:
            print("\t".join(_columns(row)))
    return 0


def _as_json(row: Row) -> dict[str, object]:
    address, grant = row
    return {
        "address": address.decode(),
        "user": _text(grant.user),
        "service": _text(grant.service),
        "login": grant.login,
        "expires": None if grant.permanent else grant.expires,
        "permanent": grant.permanent,
    }


def _columns(row: Row) -> tuple[str, ...]:
    address, grant = row
    return (
        address.decode(),
        _text(grant.user),
        _text(grant.service),
        local(grant.login),
        "permanent" if grant.permanent else local(grant.expires),
    )


def _text(raw: bytes) -> str:
    """User names come from the network: nothing in them may steer a terminal."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _table(found: list[Row]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, for terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in ("ADDRESS", "USER", "SERVICE", "LOGIN", "EXPIRES"):
        table.add_column(title, overflow="fold")
    for row in found:
        table.add_row(*(Text(column) for column in _columns(row)))
    Console().print(table)
