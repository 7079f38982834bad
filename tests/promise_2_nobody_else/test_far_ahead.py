"""A line that is stamped far ahead grants nothing, and spoils nothing that is kept of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from pbs_watch.grants.store import Map
from tests.daemon import NO, OK, Daemon, Log, command, login, until

Start = Callable[..., Daemon]

AHEAD = b"9999-12-31T23:59:59+00:00 mail pop3d: LOGIN, user=bob, ip=[198.18.0.1], port=[1]\n"


def test_what_is_remembered_of_it_comes_in_again_and_is_swept(start: Start, log: Log) -> None:
    daemon = start()
    log.write(AHEAD, login("198.18.0.2"))
    assert [daemon.ask(f"198.18.0.{number}") for number in (1, 2)] == [NO, OK]
    until(lambda: daemon.get("198.18.0.2") == 0, "committed")
    out = command("export", "--map", daemon.map).out
    (refusal,) = [row for row in map(json.loads, out.splitlines()) if row.get("reason")]
    assert refusal["reason"] == "future"
    assert abs(refusal["last"] - time.time()) < 60
    other = log.path.with_name("other")
    Map(other, "daemon").close()
    assert command("import", "-", "--map", other, given=out).status == 0
    grants = Map(other, "daemon")
    while grants.sweep(time.time() + 8 * 86400).looked:
        pass
    with grants.reading() as tables:
        assert tables.count(b"refusals") == 0
    grants.close()


def test_it_does_not_hide_how_far_the_log_has_been_read(start: Start, log: Log) -> None:
    daemon = start()
    log.write(AHEAD, login("198.18.0.2"))
    assert daemon.ask("198.18.0.2") == OK
    log.write(login("198.18.0.3"))
    assert daemon.ask("198.18.0.3") == OK
    (source,) = json.loads(command("status", "--json", "--map", daemon.map).out)["sources"]
    assert abs(source["latest"] - time.time()) < 60


def test_a_replay_whose_clock_ends_far_ahead_goes_out_and_comes_in(tmp_path: Path) -> None:
    map_, other, log = tmp_path / "map", tmp_path / "other", tmp_path / "log"
    for path in (map_, other):
        Map(path, "daemon").close()
    log.write_bytes(AHEAD)
    assert command("replay", "--map", map_, log).status == 0
    out = command("export", "--map", map_).out
    assert b"198.18.0.1" in out
    assert command("import", "-", "--map", other, given=out).status == 0
    assert command("export", "--map", other).out == out
