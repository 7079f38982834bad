"""The operator's orders, which no log brings back, outlive whatever becomes of a rebuild."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.grants.anew import FOLDER
from pbs_watch.grants.copy import NAME
from pbs_watch.grants.store import Map
from tests.daemon import (
    NO,
    OK,
    PATIENCE,
    ROOT,
    Daemon,
    Log,
    addresses,
    command,
    environment,
    login,
    refused,
)

Start = Callable[..., Daemon]

KILLED_AT = """
import os, sys
from importlib import import_module
module, _, name = sys.argv[1].rpartition(".")
setattr(import_module(module), name, lambda *_, **__: os._exit(137))
from pbs_watch.cli import main
sys.exit(main(sys.argv[2:]))
"""

WITHOUT_ROOM = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from pbs_watch.cli import main
sys.exit(main(sys.argv[2:]))
"""

BESIDE = """
import sys, subprocess
from pbs_watch.commands import rebuild
real = rebuild.replay
def replay(*given, **named):
    done = real(*given, **named)
    for order in (["unblock", "198.18.0.3"], ["block", "198.18.0.1", "--for", "1h"]):
        words = [sys.executable, "-m", "pbs_watch", *order, "--map", sys.argv[2]]
        subprocess.run(words, check=True)
    return done
rebuild.replay = replay
from pbs_watch.cli import main
sys.exit(main(sys.argv[1:2] + ["--map"] + sys.argv[2:]))
"""


def changed(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the program with something in it changed."""
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def orders(path: Path) -> list[tuple[str, str]]:
    found = json.loads(command("list", "--orders", "--json", "--map", path).out)
    return [(row["order"], row["subject"]) for row in found]


@pytest.fixture
def ordered(start: Start, log: Log) -> Daemon:
    """A stopped daemon, in whose map some orders stand."""
    daemon = start()
    log.write(*(login(one) for one in addresses(3000)))
    assert daemon.ask("198.18.0.9") == OK
    for words in (
        ("block", "198.18.0.3", "--for", "1h"),
        ("block", "--user", "eve", "--for", "1h"),
        ("allow", "198.18.255.7", "--permanent"),
    ):
        assert command(*words, "--map", daemon.map).status == 0
    # What it has not told would be told by the next one.
    daemon.process.says("event=allowed on=198.18.255.7")
    daemon.stop()
    return daemon


ORDERS = [("allow", "198.18.255.7"), ("block", "198.18.0.3"), ("block", "user eve")]


def still_obeyed(daemon: Daemon) -> None:
    assert orders(daemon.map) == ORDERS
    daemon.start()
    assert [daemon.ask(one) for one in ("198.18.0.3", "198.18.0.9", "198.18.255.7")] == [NO, OK, OK]
    assert orders(daemon.map) == ORDERS


@pytest.mark.parametrize(
    "where",
    [
        "commands.rebuild.carry",
        "commands.rebuild.replay",
        "commands.rebuild.put_in_place",
        "grants.anew._give",
        "grants.anew._free_name",
        "grants.anew.sync_directory",
    ],
)
def test_a_rebuild_that_is_killed_loses_no_order(ordered: Daemon, log: Log, where: str) -> None:
    words: list[str | Path] = ["rebuild", "--map", ordered.map, "--log", log.path]
    assert changed(KILLED_AT, f"pbs_watch.{where}", *words).returncode == 137
    still_obeyed(ordered)
    ordered.stop()
    # What it left behind is in nobody's way.
    assert command(*words).status == 0
    assert not (ordered.map / FOLDER).exists()
    still_obeyed(ordered)


def test_a_rebuild_without_room_leaves_the_map_as_it_is(ordered: Daemon, log: Log) -> None:
    before = (ordered.map / "data.mdb").read_bytes()
    words: list[str | Path] = ["rebuild", "--map", ordered.map, "--log", log.path]
    ended = changed(WITHOUT_ROOM, "200000", *words)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"{ordered.map} is as it was" in ended.stderr
    assert (ordered.map / "data.mdb").read_bytes() == before
    assert not (ordered.map / FOLDER).exists()
    still_obeyed(ordered)


def test_what_is_ordered_during_a_rebuild_is_carried_over(ordered: Daemon, log: Log) -> None:
    ended = changed(BESIDE, "rebuild", ordered.map, "--log", log.path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert orders(ordered.map) == [
        ("allow", "198.18.255.7"),
        ("block", "198.18.0.1"),
        ("block", "198.18.0.3"),  # which is over
        ("block", "user eve"),
    ]
    ordered.start()
    assert [ordered.ask(one) for one in ("198.18.0.1", "198.18.0.9")] == [NO, OK]
    log.write(login("198.18.0.3"))
    assert ordered.ask("198.18.0.3") == OK


def test_acts_that_nobody_was_told_of_are_carried_over(ordered: Daemon, log: Log) -> None:
    assert command("allow", "198.18.255.8", "--map", ordered.map).status == 0
    assert command("rebuild", "--map", ordered.map, "--log", log.path).status == 0
    ordered.start()
    ordered.process.says("event=allowed on=198.18.255.8")
    assert "198.18.255.7" not in ordered.said


def test_a_daemon_that_makes_a_map_takes_over_the_orders_of_the_copy(ordered: Daemon) -> None:
    (ordered.map / "data.mdb").unlink()
    ordered.start()
    ordered.process.says("a new map; 3 orders taken over from their copy")
    assert [ordered.ask(one) for one in ("198.18.0.3", "198.18.255.7")] == [NO, OK]
    assert orders(ordered.map) == ORDERS
    # Once: what was ended since does not come back.
    assert command("revoke", "198.18.255.7", "--map", ordered.map).status == 0
    ordered.stop()
    ordered.start()
    assert ordered.ask("198.18.255.7") == NO


def test_a_copy_that_cannot_be_read_is_not_passed_over(ordered: Daemon) -> None:
    (ordered.map / "data.mdb").unlink()
    good = (ordered.map / NAME).read_bytes()
    (ordered.map / NAME).write_bytes(good + b"{\n")
    words: list[str | Path] = [
        "run",
        "--map",
        ordered.map,
        "--log",
        ordered.map / "log",
        "--tcp-table",
        "127.0.0.1:0",
    ]
    assert f"{NAME}:4: not an order" in refused(*words)
    assert f"{NAME}:4: not an order" in refused("allow", "198.18.0.1", "--map", ordered.map)
    assert (ordered.map / NAME).read_bytes() == good + b"{\n"


def test_a_command_takes_over_a_copy_that_the_map_never_knew(tmp_path: Path) -> None:
    """The copy must not shrink to what a new map knows."""
    for name, words in {"old": ["block", "--user", "eve", "--for", "1h"], "new": []}.items():
        made = tmp_path / name
        daemon_made(made)
        if words:
            assert command(*words, "--map", made).status == 0
    (tmp_path / "old" / NAME).rename(tmp_path / "new" / NAME)
    assert command("allow", "198.18.0.1", "--map", tmp_path / "new").status == 0
    assert orders(tmp_path / "new") == [("allow", "198.18.0.1"), ("block", "user eve")]
    assert len((tmp_path / "new" / NAME).read_text().splitlines()) == 2


def daemon_made(path: Path) -> None:

    Map(path, "daemon").close()


def test_an_order_that_is_over_is_not_taken_over(tmp_path: Path) -> None:
    daemon_made(tmp_path / "map")
    rows = [
        {"network": "198.18.0.1", "since": 1.0, "until": time.time() - 1, "note": ""},
        {"network": "198.18.0.2", "since": 1.0, "until": None, "note": ""},
    ]
    (tmp_path / "map" / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command("allow", "198.18.0.3", "--map", tmp_path / "map").status == 0
    assert orders(tmp_path / "map") == [("allow", "198.18.0.2"), ("allow", "198.18.0.3")]
