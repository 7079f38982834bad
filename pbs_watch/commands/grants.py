"""``get`` and ``list``: what is committed in the map."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pbs_watch.commands.settings import settings
from pbs_watch.errors import UsageError
from pbs_watch.grants.address import literal
from pbs_watch.grants.store import Map

if TYPE_CHECKING:
    from pbs_watch.commands.forms import Form
    from pbs_watch.config import Config
    from pbs_watch.grants.listing import Choice

_ON_A_TERMINAL = 1000
"""Rows that a table on a terminal has, unless told otherwise."""

_Item = TypeVar("_Item")


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
    """Print grants, orders or sessions: as JSON, as a table on a terminal, or as plain columns."""
    from pbs_watch.commands import forms  # noqa: PLC0415 - `get` needs none of these
    from pbs_watch.grants import listing  # noqa: PLC0415

    # Nothing here refers to itself in a circle, and looking for that costs a tenth.
    gc.disable()
    config = settings(arguments)
    choice = _choice(config, arguments)
    now = time.time()
    grants = Map(config.map, "read")
    try:
        if arguments.orders:
            _show(iter([listing.orders(grants, now, choice)]), forms.ORDERS, arguments, now)
        elif arguments.sessions:
            _show(iter([listing.sessions(grants, now, choice)]), forms.SESSIONS, arguments, now)
        else:
            _show(listing.slices(grants, now, choice), forms.GRANTS, arguments, now)
    finally:
        grants.close()
    return 0


def _choice(config: Config, arguments: argparse.Namespace) -> Choice:
    from pbs_watch.escape import meant  # noqa: PLC0415
    from pbs_watch.grants.address import canonical, network  # noqa: PLC0415
    from pbs_watch.grants.listing import Choice  # noqa: PLC0415

    if arguments.limit is not None and arguments.limit < 0:
        raise UsageError(f"--limit {arguments.limit}: write how many rows, or 0 for all")
    for name, needless in {"orders": "service", "sessions": "permanent"}.items():
        if getattr(arguments, name) and getattr(arguments, needless):
            raise UsageError(f"--{needless} does not fit --{name}: leave one of them out")
    user, service = arguments.user, arguments.service
    if "" in {user, service, arguments.network} or user == "@":
        raise UsageError("an empty name; write one, or leave the option out")
    return Choice(
        config.user(meant(user or "")),
        canonical(network(arguments.network)) if arguments.network else b"",
        meant(service or ""),
        arguments.permanent,
    )


def _show(
    found: Iterator[list[_Item]], form: Form[_Item], arguments: argparse.Namespace, now: float
) -> None:
    """Print what was found, a part at a time where it need not be sorted."""
    terminal = sys.stdout.isatty() and not arguments.json
    limit = arguments.limit
    if limit is None and terminal:
        limit = _ON_A_TERMINAL
    left = 0
    if arguments.sort or arguments.reverse or terminal:
        every = [row for some in found for row in some]
        if arguments.sort:
            key = form.keys.get(arguments.sort)
            if key is None:
                raise UsageError(
                    f"--sort {arguments.sort} does not fit here; "
                    f"write one of {', '.join(sorted(form.keys))}"
                )
            every.sort(key=key)  # type: ignore[arg-type]  # each of them gives what compares
        if arguments.reverse:
            every.reverse()
        shown = every[:limit] if limit else every
        left = len(every) - len(shown)
        found = iter([shown])
    elif limit:
        found = _first(found, limit)
    if arguments.json:
        _print_json(form.as_json(some) for some in found if some)
    elif terminal:
        _table(form, next(found), now)
    else:
        for some in found:
            sys.stdout.write("".join(form.columns(some)))
    if left and terminal:
        print(
            f"{left:,} more: choose by --user, --in or --service, or say --limit 0 for all",
            file=sys.stderr,
        )


def _first(found: Iterator[list[_Item]], limit: int) -> Iterator[list[_Item]]:
    for some in found:
        yield some[:limit]
        limit -= len(some)
        if limit <= 0:
            return


def _print_json(parts: Iterable[Iterable[str]]) -> None:
    before = "[\n "
    for part in parts:
        sys.stdout.write(before + ",\n ".join(part))
        before = ",\n "
    print("[]" if before.startswith("[") else "\n]")


def _table(form: Form[_Item], found: list[_Item], now: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, for terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from pbs_watch.commands.forms import Times  # noqa: PLC0415

    times = Times(now)
    lines = [form.brief(row, times) for row in found]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    kept = [n for n in range(len(form.titles)) if not lines or any(line[n] for line in lines)]
    widths = [max((len(line[n]) for line in (form.titles, *lines)), default=0) for n in kept]
    console = Console()
    narrow = sum(widths) + 2 * len(widths) > console.width
    for n in kept:
        # Names and notes come from others, and are what gives way where it gets narrow.
        table.add_column(form.titles[n], overflow="fold", no_wrap=form.titles[n] not in _FOLDED)
    for line in lines:
        texts = (_folded(line[n]) if narrow and n == 0 else line[n] for n in kept)
        table.add_row(*(Text(text) for text in texts))
    console.print(table)


_FOLDED = {"USER", "NOTE", "SERVICE", "SUBJECT"}

_ADDRESS = 20
"""Columns that long addresses are folded to: those of half an IPv6 address."""


def _folded(address: str) -> str:
    if len(address) <= _ADDRESS:
        return address
    half = address.rfind(":", 0, _ADDRESS) + 1 or _ADDRESS
    return f"{address[:half]}\n{address[half:]}"
