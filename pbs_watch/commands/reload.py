"""``reload``: settings and patterns are checked, then the daemon takes them and says so."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from pbs_watch import live
from pbs_watch.answer.client import NobodyAnswersError, ask
from pbs_watch.commands.settings import formats_of, settings
from pbs_watch.errors import PbsWatchError, one_line

_COMES = 3.0
"""Seconds for a daemon to answer: one that could not start tries again every second."""

_PATIENCE = 60.0
"""Seconds for the daemon to load what was checked here before: it has other things to do."""

_PAUSE = 0.02
"""Seconds between two questions."""


def run(arguments: argparse.Namespace) -> int:
    """Check; let the daemon load; print what it says.

    The daemon checks by itself too: as its own user, with the options of its own command line.
    """
    config = settings(arguments)
    formats_of(config)
    number = _begun(config.map)
    verdict = _verdict(config.map, number)
    if verdict.get("error"):
        raise PbsWatchError(f"not reloaded, the daemon goes on as before: {verdict['error']}")
    for note in verdict.get("notes", ()):
        print(f"pbs-watch: {one_line(PbsWatchError(note))}", file=sys.stderr)
    return 0


def _begun(path: Path) -> int:
    deadline = time.monotonic() + _COMES
    while True:
        try:
            return int(_asked(path, b"reload")["number"])
        except NobodyAnswersError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _verdict(path: Path, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while not (told := _asked(path, b"reloaded %d" % number)).get("done"):
        if time.monotonic() > deadline:
            raise PbsWatchError(f"{path}: the daemon is still loading; look at its log")
        time.sleep(_PAUSE)
    return told


def _asked(path: Path, key: bytes) -> dict[str, Any]:
    told = json.loads(ask(path / live.SOCKET, live.NAME, key) or b"{}")
    if not told:
        raise PbsWatchError(f"{path}: the daemon is of another version; restart it")
    return dict(told)
