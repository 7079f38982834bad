"""``export`` and ``import``: grants and orders in formats that others understand."""

from __future__ import annotations

import argparse
import gc
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pbs_watch import files
from pbs_watch.commands.settings import operator, settings
from pbs_watch.config import Config
from pbs_watch.errors import MapError, UsageError
from pbs_watch.exchange import jsonl
from pbs_watch.exchange.relaying import Relaying, addresses, relaying, table
from pbs_watch.grants import rows
from pbs_watch.grants.address import canonical, overlap
from pbs_watch.grants.store import Map

if TYPE_CHECKING:
    from pbs_watch.exchange.intake import Taken
    from pbs_watch.exchange.parcel import Parcel

_DAMAGE = (struct.error, ValueError, TypeError, KeyError)
"""What a row says that is not as we wrote it."""

_MODE = 0o640
"""Of a new file, as the map's: who read mail when and from where."""


def export(arguments: argparse.Namespace) -> int:
    """Write what is in the map, in one of the formats, or as a table of Postfix."""
    _check(arguments)
    config = settings(arguments)
    # Millions of rows, none of which refers to itself in a circle.
    gc.disable()
    if arguments.table is not None:
        from pbs_watch.commands.table import keep  # noqa: PLC0415 - for tables only

        every = arguments.every if arguments.every is not None else "5s"
        return keep(config, arguments.table, every, follow=arguments.follow)
    pieces = _pieces(config, arguments.format or "jsonl")
    if arguments.output is None:
        sys.stdout.buffer.writelines(pieces)
        sys.stdout.buffer.flush()
    else:
        files.replace(arguments.output, pieces, _MODE)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises :class:`UsageError` for options that do not fit together."""
    if arguments.table is None:
        for name, said in (("--follow", arguments.follow), ("--every", arguments.every)):
            if said:
                raise UsageError(f"{name} is for a table of Postfix; name one with --table")
    elif arguments.output is not None or arguments.format is not None:
        raise UsageError("--table names its own file and format; leave --output and --format out")
    if arguments.every is not None and not arguments.follow:
        raise UsageError("--every is for --follow: a table that is kept up to date")


def _pieces(config: Config, form: str) -> Iterable[bytes]:
    """What is to be written; the map has been read and closed when it is handed out."""
    grants = Map(config.map, "read")
    try:
        if form == "jsonl":
            with grants.reading() as tables:
                names = list(tables.rows(b"meta", rows.SOURCE_NAME))
                found = jsonl.rows_of(tables.all, names)
            return _sound(config.map, jsonl.lines(found))
        now = read_relaying(grants, time.time())
    finally:
        grants.close()
    if form == "addresses":
        return (address + b"\n" for address in addresses(now))
    made = table(now, config.answer.encode())
    warn(made.unsaid)
    return [made.source()]


def read_relaying(grants: Map, now: float) -> Relaying:
    """Who may relay at ``now``; raises :class:`MapError`."""
    with grants.reading() as tables:
        found, sessions = tables.all(b"grants"), tables.all(b"sessions")
        orders = tables.all(b"orders")
    try:
        return relaying(found, sessions, orders, now)
    except _DAMAGE as error:
        raise _damaged(grants.path, error) from None


def _sound(path: Path, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, as long as the rows of the map at ``path`` are such as we wrote them."""
    try:
        yield from pieces
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> MapError:
    return MapError(
        f"{path}: the map is damaged ({error}); stop the daemon and run pbs-watch rebuild"
    )


def warn(unsaid: Iterable[bytes]) -> None:
    """Say which networks a table of Postfix does not hold."""
    for network in unsaid:
        print(
            f"pbs-watch: {network.decode()}: not wholly in the table, since Postfix looks networks "
            "up by the beginning of their text only; ask pbs-watch itself by tcp_table",
            file=sys.stderr,
        )


def import_(arguments: argparse.Namespace) -> int:
    """Read a whole file, and if all of it is sound put it into the map."""
    from pbs_watch.exchange import formats, intake  # noqa: PLC0415
    from pbs_watch.grants.acts import Act  # noqa: PLC0415
    from pbs_watch.grants.copy import ordering  # noqa: PLC0415

    config = settings(arguments)
    gc.disable()
    name = str(arguments.file)
    data = _content(arguments.file)
    now = time.time()
    parcel = formats.read(
        name,
        data,
        arguments.form,
        now,
        config.window,
        force=arguments.force,
        fold=config.fold_users,
    )
    _obey_policy(parcel, config, name, force=arguments.force)
    with ordering(config.map, config.retention) as grants:
        taken = intake.take(grants, parcel, Act(now, "import", name, operator()))
    print(_told(taken, parcel.left_out))
    return 0


def _obey_policy(parcel: Parcel, config: Config, name: str, *, force: bool) -> None:
    """Leave out what ``never`` and ``only`` do not let be granted; an allow needs ``force``."""
    never, only = config.networks(config.never), config.networks(config.only)
    own = [canonical(one) for one in never.items]
    for allow in parcel.allows:
        if not force and any(overlap(one, allow.network) for one in own):
            raise UsageError(
                f"{name}: {allow.network.decode()} is never granted (never); take it out, or say "
                "--force; nothing was imported"
            )

    def refusal(address: bytes) -> str:
        if any(overlap(one, address) for one in own):
            return "never granted"
        alone = not only or any(overlap(canonical(one), address) for one in only.items)
        return "" if alone else "not among those that alone are granted"

    if never or only:
        parcel.without(refusal)


def _content(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _told(taken: Taken, left_out: Mapping[str, int]) -> str:
    """What an import did, in one line."""
    left = [
        *((number, why) for why, number in sorted(left_out.items())),
        (taken.void, "void by orders here"),
        (taken.opposed, "against an order here"),
    ]
    out = ", ".join(f"{number:,} {why}" for number, why in left if number)
    return f"imported: {taken.told()}" + (f"; left out: {out}" if out else "")
