"""However many ask, and whatever the engine does, each is answered and none in vain."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from pbs_watch.answer.server import Connection, Question
from pbs_watch.answer.verdict import Verdict
from pbs_watch.errors import SharedError
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.store import Map
from pbs_watch.notices import Notices
from pbs_watch.shared.asking import Asker
from pbs_watch.shared.breaker import FAILURES
from pbs_watch.shared.engine import Found, Mark, Shared
from pbs_watch.shared.express import Express, Slowest
from pbs_watch.shared.redis_client import client
from pbs_watch.shared.sending import Sender
from pbs_watch.shared.sharing import IN_FLIGHT, Manner, Sharing, Threads
from pbs_watch.shared.where import Server, Where
from pbs_watch.trail import Trail
from tests.daemon import free_port
from tests.engines import Redis, Sentinel, wait


class Silent:
    """An engine that is not asked: its threads are not begun."""

    def find(self, *_: object) -> Found:
        raise AssertionError

    def mark(self) -> Mark:
        raise AssertionError


class Spoilt:
    """An engine of which nothing can be kept."""

    def find(self, addresses: Sequence[bytes], now: float) -> Found:
        return Found(-1, {one: [Shared(one, None, b"", now, now + 9)] for one in addresses})  # type: ignore[arg-type]

    def mark(self) -> Mark:
        raise SharedError

    def close(self) -> None:
        pass


class Answers:
    """What the server was told to answer."""

    def __init__(self) -> None:
        self.given: Counter[Verdict] = Counter()

    def settle(self, questions: list[Question], decide: Callable[[bytes], Verdict]) -> None:
        for question in questions:
            self.given[decide(question.key)] += 1


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[Map]:
    opened = Map(tmp_path / "map", "daemon")
    yield opened
    opened.close()


def sharing(grants: Map, answers: Answers, manner: Manner, asker: Asker | None = None) -> Sharing:
    engine, notices = Silent(), Notices()
    express = Express(engine)  # type: ignore[arg-type]
    return Sharing(
        grants,
        Pending(),
        answers,  # type: ignore[arg-type]
        Threads(
            asker or Asker(engine, lambda: None),  # type: ignore[arg-type]
            Sender(grants, engine, express, window=1800, host="a", wake=lambda: None),  # type: ignore[arg-type]
            express,
        ),
        name="engine",
        manner=manner,
        policy=lambda: Policy(1800.0, 14400.0),
        decide=lambda _: Verdict.ABSENT,
        ask=lambda _: None,
        cannot_say=lambda _: Verdict.UNKNOWN,
        committing=lambda: None,
        notices=notices,
        trail=Trail(None, notices),
    )


def questions(number: int) -> list[Question]:
    connection: Connection = None  # type: ignore[assignment]
    return [
        Question(b"198.18.%d.%d" % divmod(one, 250), time.monotonic(), connection)
        for one in range(number)
    ]


def test_more_questions_than_may_wait_are_answered_at_once(grants: Map) -> None:
    answers = Answers()
    one = sharing(grants, answers, Manner(0.0, 0.05, "trouble"))
    for number in range(1, FAILURES + 1):
        before = answers.given.total()
        one.ask(questions(IN_FLIGHT + 500))
        last = time.monotonic() + 0.05
        assert answers.given.total() - before == 500
        assert one.counts.in_flight == IN_FLIGHT
        wait(lambda last=last: time.monotonic() > last, "the deadline of the last one")
        one.turn()
        assert answers.given == {Verdict.UNKNOWN: number * (IN_FLIGHT + 500)}
        assert (one.counts.in_flight, one.counts.late) == (0, number * IN_FLIGHT)
        assert one.due is None
    # Now it counts as unreachable: nobody waits any more.
    one.ask(questions(10))
    assert answers.given == {Verdict.UNKNOWN: FAILURES * (IN_FLIGHT + 500) + 10}
    assert not one.counts.reachable


def test_what_cannot_be_kept_is_as_if_nobody_answered(
    grants: Map, caplog: pytest.LogCaptureFixture
) -> None:
    answers, asker = Answers(), Asker(Spoilt(), lambda: None)  # type: ignore[arg-type]
    one = sharing(grants, answers, Manner(0.0, 30.0, "trouble"), asker)
    asker.begin()
    for number in range(FAILURES):
        one.ask(questions(1))
        wait(lambda: asker.has_results, "the engine has answered")
        one.turn()
        assert answers.given == {Verdict.UNKNOWN: number + 1}
    assert "holds what is not ours" in caplog.text
    asker.end()
    asker.join(10)


def test_no_by_choice_is_said_of_them_too(grants: Map) -> None:
    answers = Answers()
    one = sharing(grants, answers, Manner(0.0, 0.05, "no"))
    one.ask(questions(IN_FLIGHT + 5))
    assert answers.given == {Verdict.ABSENT: 5}


def test_who_is_let_go_is_asked_elsewhere(grants: Map) -> None:
    one = sharing(grants, Answers(), Manner(0.8, 0.1, "trouble"))
    asked = questions(3)
    one.ask(asked)
    assert one.let_go() == asked
    assert one.counts.in_flight == 0


def test_a_question_that_has_waited_is_still_answered_within_a_second(grants: Map) -> None:
    one = sharing(grants, Answers(), Manner(0.8, 0.8, "trouble"))
    now = time.monotonic()
    connection: Connection = None  # type: ignore[assignment]
    one.ask([Question(b"198.18.0.1", now - 0.7, connection)])
    assert one.due is not None
    assert one.due - now <= 0.2 + 1e-6


def test_sentinels_on_this_host_lead_to_no_other_without_tls(tmp_path: Path) -> None:
    master = Redis(tmp_path / "redis")
    master.start()
    sentinel = Sentinel(tmp_path / "sentinel", master, quorum=1)
    sentinel.start()
    where = Where("redis", (Server("127.0.0.1", sentinel.port),), "0", sentinel="pbs")
    assert client(where).ping()
    elsewhere = redis.Redis(port=sentinel.port)
    elsewhere.execute_command("SENTINEL", "REMOVE", "pbs")
    elsewhere.execute_command("SENTINEL", "MONITOR", "pbs", "198.51.100.1", free_port(), 1)
    try:
        with pytest.raises(redis.ConnectionError, match=r"198\.51\.100\.1.* is not on this host"):
            client(where).ping()
    finally:
        elsewhere.close()
        sentinel.end()
        master.end()


def test_what_is_told_slowly_is_remembered_for_a_while() -> None:
    slowest = Slowest()
    assert slowest.of(100.0) == 0.0
    slowest.note(0.2, 100.0)
    slowest.note(0.1, 120.0)
    assert slowest.of(121.0) == 0.2
    slowest.note(0.1, 131.0)
    assert slowest.of(140.0) == 0.2  # of the half minute before
    slowest.note(0.1, 170.0)
    assert slowest.of(170.0) == 0.1
    assert slowest.of(300.0) == 0.0
