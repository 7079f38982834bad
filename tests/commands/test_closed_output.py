"""A command whose standard output is closed begins nothing, and says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pbs_watch.grants.store import Map
from tests.daemon import PROGRAM, ROOT, command, environment

COMMANDS = [
    ("list",),
    ("list", "--json"),
    ("list", "--orders"),
    ("status",),
    ("top", "--count", "1"),
    ("export",),
    ("replay", "/dev/null"),
    ("get", "198.18.0.1"),
    ("allow", "198.18.0.1"),
    ("why", "198.18.0.1"),
    ("rebuild", "--log", "/dev/null"),
    ("--help",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_nothing_is_begun(words: tuple[str, ...], tmp_path: Path) -> None:
    Map(tmp_path, "daemon").close()
    before = (tmp_path / "data.mdb").read_bytes()
    more = [] if words == ("--help",) else ["--map", str(tmp_path)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, *words, *more],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "pbs-watch: standard output is closed; let it go somewhere, such as >/dev/null\n",
    )
    assert (tmp_path / "data.mdb").read_bytes() == before
    assert command("list", "--orders", "--map", tmp_path).out == b""
