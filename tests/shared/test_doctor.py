"""The doctor tells what keeps a host from the others, and changes nothing at the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.doctor import shared
from pbs_watch.doctor.finding import Level
from tests.daemon import command, free_port
from tests.engines import Redis
from tests.hosts import PATIENT, Host
from tests.shared.test_several_hosts import url

Start = Callable[..., Host]

ENGINE = "redis://127.0.0.1:6379/0"

FINE: dict[str, int | float | str] = {
    "engine": ENGINE, "reachable": True, "waiting": 0, "error": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "wanted", "level", "said"),
    [
        (FINE, ENGINE, Level.FINE, "the daemon reaches redis://127.0.0.1:6379/0"),
        (FINE, "mysql://db1:3306/mail", Level.LOOK, "through redis://127.0.0.1:6379/0, other than"),
        (FINE, "", Level.LOOK, "other than the settings say"),
        ({}, "redis:", Level.LOOK, "does not share its grants, other than the settings say"),
        ({**FINE, "waiting": 5000}, ENGINE, Level.LOOK, "5,000 rows are still to be told"),
        (
            {**FINE, "reachable": False, "error": "refused"},
            ENGINE,
            Level.WRONG,
            "IPAddressAllow=",
        ),
    ],
)
def test_what_the_daemon_tells_is_judged(
    state: dict[str, int | float | str], wanted: str, level: Level, said: str
) -> None:
    found = list(shared.judge(state, wanted))
    assert found[0].level is level
    assert said in str(found[0])


def test_nothing_is_said_of_a_daemon_that_is_alone() -> None:
    assert list(shared.judge({}, "")) == []


def findings(home: Path, *words: str | Path) -> dict[str, tuple[str, str]]:
    """What the doctor says of sharing."""
    settings = home / "settings.toml"
    settings.touch()
    told = json.loads(command("doctor", "--json", "--config", settings, *words).out)
    return {
        one["check"]: (one["level"], one["text"] + one["cure"])
        for one in told["findings"]
        if one["check"].startswith("shared")
    }


def test_an_engine_that_answers_is_left_as_it_is(
    engine: Redis, host: Start, tmp_path: Path
) -> None:
    words = ("--shared", url(engine))
    assert findings(tmp_path, *words)["shared-engine"][0] == "fine"
    assert engine.client().dbsize() == 0
    one = host("a", url(engine), *PATIENT)
    one.is_in_step()
    before = {key: engine.client().dump(key) for key in engine.client().scan_iter()}
    found = findings(tmp_path, *words, "--map", one.map)
    assert found["shared-daemon"][0] == "fine"
    assert {key: engine.client().dump(key) for key in engine.client().scan_iter()} == before


def test_an_engine_that_does_not_answer_is_wrong(tmp_path: Path) -> None:
    found = findings(tmp_path, "--shared", f"redis://127.0.0.1:{free_port()}/0")
    level, text = found["shared-engine"]
    assert level == "wrong"
    assert "cannot be reached" in text


def test_who_shares_nothing_is_told_so(tmp_path: Path) -> None:
    assert findings(tmp_path)["shared-engine"][0] == "fine"
