"""Sharing begins, changes and ends with a reload, and no lookup is lost by it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import NO, OK, TROUBLE, command, until
from tests.engines import Redis
from tests.hosts import PATIENT, Host, listed
from tests.shared.test_several_hosts import url

Start = Callable[..., Host]


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Redis]:
    """A second Redis."""
    server = Redis(tmp_path / "another")
    server.start()
    yield server
    server.end()


def test_it_begins_changes_and_ends(engine: Redis, another: Redis, host: Start) -> None:
    one, old, new = host("a", ""), host("b", url(engine), *PATIENT), host("c", url(another))
    one.logs_in("198.18.0.1")
    assert one.ask("198.18.0.1") == OK
    old.logs_in("198.18.0.2")
    old.is_in_step()
    assert one.ask("198.18.0.2") == NO
    one.settings(f'shared = "{url(engine)}"', 'shared_deadline = "0.4s"')
    one.by_hand("reload")
    assert one.ask("198.18.0.2") == OK
    until(lambda: old.knows("198.18.0.1"), "what was there before is told")
    one.settings(f'shared = "{url(another)}"', 'shared_deadline = "0.4s"')
    one.by_hand("reload")
    until(lambda: new.knows("198.18.0.1"), "the other engine is told all")
    one.logs_in("198.18.0.3")
    assert one.ask("198.18.0.3") == OK
    until(lambda: "198.18.0.3" in listed(url(another)), "and what comes then")
    assert set(listed(url(engine))) == {"198.18.0.1", "198.18.0.2"}
    one.settings()
    one.by_hand("reload")
    assert one.state_or_none() is None
    one.logs_in("198.18.0.4")
    assert [one.ask(f"198.18.0.{number}") for number in (1, 2, 3, 4, 5)] == [OK, OK, OK, OK, NO]
    assert set(listed(url(another))) == {"198.18.0.1", "198.18.0.2", "198.18.0.3"}


def test_settings_that_cannot_be_used_change_nothing(engine: Redis, host: Start) -> None:
    one, other = host("a", ""), host("b", url(engine), *PATIENT)
    one.settings(f'shared = "{url(engine)}"', 'shared_deadline = "0.4s"')
    one.by_hand("reload")
    for line, said in (
        ('shared = "redis://198.18.0.1"', "without TLS"),
        ('shared = "mysql:/nowhere/shared.cf"', "cannot be read"),
        ('shared = "rubbish"', "is no engine"),
    ):
        one.settings(line)
        ended = command("reload", "--map", one.map, "--config", one.home / "empty.toml")
        assert ended.status == 2
        assert said in ended.err
    other.logs_in("198.18.0.1")
    other.is_in_step()
    assert one.ask("198.18.0.1") == OK


def test_who_waits_while_the_engine_is_changed_is_answered(
    own_redis: Redis, engine: Redis, host: Start
) -> None:
    """The old engine hangs: its questions go to the new one, and nobody waits for its threads."""
    one, other = host("a", ""), host("b", url(engine), *PATIENT)
    other.logs_in("198.18.0.1")
    other.is_in_step()
    patient = 'shared_deadline = "0.8s"', 'shared_linger = "0s"'
    one.settings(f'shared = "{url(own_redis)}"', *patient)
    one.by_hand("reload")
    one.is_in_step()
    own_redis.signal(signal.SIGSTOP)
    one.settings(f'shared = "{url(engine)}"', *patient)
    question = one.daemon.connect()
    began = time.monotonic()
    question.socket.sendall(b"get 198.18.0.1\n")
    one.by_hand("reload")
    assert question.hear() in {OK, TROUBLE}  # the machine may need longer for the command
    assert time.monotonic() - began < 2.0
    assert one.ask("198.18.0.1") == OK
    own_redis.signal(signal.SIGCONT)


def test_all_waits_together_end_within_a_second(own_redis: Redis, host: Start) -> None:
    one = host(
        "a", url(own_redis), "--shared-deadline", "0.8s", "--shared-linger", "0.8s",
        "--miss-wait", "0.8s",
    )  # fmt: skip
    assert one.ask("198.18.0.1") == NO
    own_redis.signal(signal.SIGSTOP)
    for _ in range(5):
        began = time.monotonic()
        assert one.ask("198.18.0.1") == TROUBLE
        assert time.monotonic() - began < 1.0
    own_redis.signal(signal.SIGCONT)
