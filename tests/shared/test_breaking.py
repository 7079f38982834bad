"""What is said while the engine fails, or is ahead of what is known here; and afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pbs_watch.answer.server import Question
from pbs_watch.answer.verdict import Verdict
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.store import Map
from pbs_watch.notices import Notices
from pbs_watch.shared.asking import Asker
from pbs_watch.shared.express import Express
from pbs_watch.shared.sending import Sender
from pbs_watch.shared.sharing import Manner, Sharing, Threads
from pbs_watch.shared.switch import switch
from tests.daemon import until
from tests.shared.memory import Memory

DEADLINE = 0.3


class Loop:
    """The daemon's loop as far as sharing needs it: a server that notes the answers."""

    def __init__(self, path: Path) -> None:
        self.map = Map(path, "daemon")
        switch(self.map, "mx1")
        self.said: list[Verdict] = []
        self.engine = Memory()
        self.notices = Notices()
        express = Express(self.engine)
        self.sender = Sender(
            self.map, self.engine, express, window=1800, host="mx1", wake=lambda: None
        )
        self.sharing = Sharing(
            self.map,
            Pending(sharing=True),
            self,  # type: ignore[arg-type]
            Threads(Asker(self.engine, lambda: None), self.sender, express),
            name="memory",
            manner=Manner(0.0, DEADLINE, "trouble"),
            policy=lambda: Policy(1800.0, 14400.0),
            decide=lambda _: Verdict.ABSENT,
            ask=lambda _: None,
            cannot_say=lambda _: Verdict.UNKNOWN,
            committing=lambda: None,
            notices=self.notices,
            trail=None,  # type: ignore[arg-type]
        )
        self.sharing.begin()

    def settle(self, questions: Sequence[Question], decide: Callable[[bytes], Verdict]) -> None:
        self.said += [decide(question.key) for question in questions]

    def turns_until(self, condition: Callable[[], bool], what: str) -> None:
        def turned() -> bool:
            self.sharing.turn()
            return condition()

        until(turned, what)

    def put(self) -> None:
        self.sharing.ask([Question(b"198.18.0.1", time.monotonic(), None)])  # type: ignore[arg-type]

    def ask(self) -> Verdict:
        had = len(self.said)
        self.put()
        self.turns_until(lambda: len(self.said) > had, "an answer")
        return self.said[-1]

    def says_no(self) -> None:
        self.turns_until(lambda: self.ask() == Verdict.ABSENT, "not found")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(tmp_path / "map")
    yield made
    made.sharing.close()
    made.map.close()


def test_no_comes_back_after_an_order_that_was_hard_to_learn(loop: Loop) -> None:
    loop.says_no()
    loop.engine.broken = {"records"}
    loop.engine.version += 1
    had = len(loop.said)
    for number in range(1, 7):
        loop.put()
        loop.turns_until(lambda wanted=number: loop.sharing.counts.asked > wanted, "asked")  # type: ignore[misc]
        loop.turns_until(lambda: not loop.sharing._asker._questions, "taken up by the thread")
    loop.turns_until(lambda: len(loop.said) == had + 6, "answers")
    assert loop.said[had:] == [Verdict.UNKNOWN] * 6
    # The engine answers: what is missing is not its business.
    assert loop.sharing.counts.opened == 0
    assert loop.sharing.counts.late == 6
    loop.engine.broken = set()
    loop.says_no()
    assert loop.sharing.counts.reachable


def test_a_breaker_that_opened_is_closed_without_anybody_asking(loop: Loop) -> None:
    loop.says_no()
    loop.engine.broken = {"find"}
    loop.turns_until(lambda: loop.ask() is not None and loop.sharing.counts.opened > 0, "open")
    asked = loop.engine.calls.count("find")
    assert "find fails" in loop.sharing.counts.error
    loop.engine.broken = set()
    loop.turns_until(lambda: loop.sharing.counts.reachable, "it is found by looking")
    assert loop.engine.calls.count("find") == asked
    loop.says_no()


def test_each_order_is_learned_at_once_after_the_engine_came_back_empty(loop: Loop) -> None:
    loop.engine.version = 50
    loop.says_no()
    loop.engine.version = 51
    loop.says_no()
    loop.engine.restarts_empty("two")
    loop.turns_until(lambda: loop.sender.delivery.version == 1, "it is noticed")
    for version in (2, 3, 4):
        loop.engine.version = version
        before = loop.engine.calls.count("records")
        loop.turns_until(lambda: loop.ask() == Verdict.ABSENT, "the order is learned")
        assert loop.engine.calls.count("records") > before
    assert loop.sharing.counts.late == 0
    assert loop.sharing.counts.opened == 0


def test_the_same_trouble_is_told_again_and_no_old_one_for_a_new_one(
    loop: Loop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbs_watch.notices.WARN_EVERY", 0.0)
    loop.says_no()
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "pbs_watch"):
            caplog.clear()
            loop.engine.broken = {"mark"}
            loop.sender.hurry()
            loop.turns_until(lambda: "mark fails" in caplog.text, "the sender's trouble")
            assert "find fails" not in caplog.text
            loop.engine.broken = set()
            loop.turns_until(lambda: not loop.sender.delivery.error, "it is over")
            loop.sharing.turn()
            caplog.clear()
            loop.engine.broken = {"find"}
            loop.turns_until(
                lambda: loop.ask() is not None and "find fails" in caplog.text, "the asker's"
            )
            assert "mark fails" not in caplog.text
            loop.engine.broken = set()
            loop.turns_until(lambda: loop.sharing.counts.reachable, "that is over")
