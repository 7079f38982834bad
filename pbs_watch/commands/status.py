"""``status``: what the daemon does, or what its map tells where no daemon answers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pbs_watch import live
from pbs_watch.answer.client import NobodyAnswersError, ask
from pbs_watch.commands.display import facts
from pbs_watch.commands.settings import settings
from pbs_watch.commands.state import Step, safe_text, taken
from pbs_watch.errors import PbsWatchError

_RUNNING, _NOT_RUNNING = 0, 1


def run(arguments: argparse.Namespace) -> int:
    """Print the state as JSON, as a page on a terminal, or as names and values."""
    path = settings(arguments).map
    try:
        raw = told(path)
    except NobodyAnswersError as error:
        found = found_in(path, error)
        complain(error)
        if arguments.json:
            print(json.dumps(found))
        else:
            _print_facts(_map_facts(found))
        return _NOT_RUNNING
    if arguments.json:
        print(json.dumps(raw))
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - slow to import, for terminals only

        from pbs_watch.commands.page import Page  # noqa: PLC0415

        Console(highlight=False).print(Page(Step(taken(raw))))
    else:
        _print_facts(facts(taken(raw)))
    return _RUNNING


def told(path: Path) -> dict[str, Any]:
    """The state that the daemon of the map at ``path`` tells; raises NobodyAnswersError."""
    answer = ask(path / live.SOCKET, live.NAME, live.STATUS)
    try:
        raw = json.loads(answer or b"")
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise NobodyAnswersError(f"{path}: the daemon does not tell its state; restart it")
    return raw


def found_in(path: Path, error: NobodyAnswersError) -> dict[str, Any]:
    """What the map tells while no daemon does, in the form of its state; ``pid`` is null.

    Raises ``error`` where this user may not ask the daemon, :class:`MapError` where no map is.
    """
    socket = path / live.SOCKET
    if os.access(socket, os.F_OK) and not os.access(socket, os.R_OK | os.W_OK):
        raise error
    from pbs_watch.grants.store import Map  # noqa: PLC0415 - not needed where a daemon answers

    grants = Map(path, "read")
    try:
        with grants.reading() as tables:
            schema = (tables.get(b"meta", b"schema") or b"").decode("ascii", "replace")
            counts = {name.decode(): tables.count(name) for name in live.ROWS}
        sources = grants.sources()
    finally:
        grants.close()
    return {
        "pid": None,
        "map": {"path": str(path), "schema": schema, **counts},
        "sources": [
            {
                "name": name,
                "files": [{"inode": at.inode, "offset": at.offset} for at in state.positions],
                "cursor": state.cursor,
            }
            for name, state in sorted(sources.items())
        ],
    }


def _map_facts(found: dict[str, Any]) -> Iterator[tuple[str, object]]:
    rows = found["map"]
    yield "pid", "none"
    yield "map", safe_text(rows["path"])
    for name in ("grants", "sessions", "orders"):
        yield name, rows[name]
    for source in found["sources"]:
        name = f"source {safe_text(source['name'])}"
        if source["cursor"]:
            yield f"{name} read to", safe_text(source["cursor"])
        for at in source["files"]:
            yield f"{name} read to", f"byte {at['offset']} of inode {at['inode']}"


def _print_facts(found: Iterator[tuple[str, object]]) -> None:
    for name, value in found:
        print(f"{name}: {value}")


def complain(error: PbsWatchError) -> None:
    """Say in one line what is wrong, where the command goes on nevertheless."""
    print(f"pbs-watch: {safe_text(error)}", file=sys.stderr, flush=True)
