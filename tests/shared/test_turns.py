"""A turn of the sending thread: whatever happens in its middle, nobody's login or order is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch.errors import MapError
from pbs_watch.grants import copy, hand, outbox
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import record_of
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.shared import sending
from pbs_watch.shared.express import Express
from pbs_watch.shared.sending import Sender
from pbs_watch.shared.switch import switch
from tests.daemon import until
from tests.shared.memory import Memory

HERE = (1, 2, 3)
"""The place of a line."""

WEEK = 7 * 86400.0


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[Map]:
    opened = Map(tmp_path / "map", "daemon")
    switch(opened, "mx1")
    yield opened
    opened.close()


class Pair:
    """The two threads that tell, run by hand: one turn at a time."""

    def __init__(self, grants: Map) -> None:
        self.map = grants
        self.engine = Memory()
        self.express = Express(self.engine)
        self.sender = Sender(
            grants, self.engine, self.express, window=1800, host="mx1", wake=lambda: None
        )

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.sender._hurry.clear()
            self.sender._turn()

    @property
    def waiting(self) -> int:
        with self.map.reading() as tables:
            return tables.count(b"outbox")


@pytest.fixture
def pair(grants: Map) -> Pair:
    return Pair(grants)


def logins(*addresses: bytes, sharing: bool = True) -> Changes:
    now = float(int(time.time()))
    changes = Changes(sharing=sharing)
    for address in addresses:
        changes.login(address, grant(now + 1800, now, b"bob", b"pop3d", HERE))
    return changes


def many(count: int) -> list[bytes]:
    return [b"198.18.%d.%d" % (number // 250, number % 250) for number in range(count)]


def bars(grants: Map) -> dict[bytes, float]:
    return {bar.name: bar.until for bar in grants.obey().bars}


# Orders before logins


def test_orders_are_known_before_a_full_outbox_is_delivered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TOGETHER", 10)
    monkeypatch.setattr(sending, "_PORTIONS", 3)
    pair.map.commit(logins(*many(100)))
    now = float(int(time.time()))
    pair.engine.put_records([record_of(Bar("user", b"eve", now, now + 60), "root@mx2")], now)
    pair.turn()
    assert bars(pair.map) == {b"eve": now + 60}
    assert pair.sender.delivery.version == pair.engine.version
    assert pair.engine.calls.index("records") < pair.engine.calls.index("put")
    assert pair.waiting == 70
    pair.turn(3)
    assert pair.waiting == 0
    assert len(pair.engine.logins) == 100


def test_a_turn_that_is_hurried_sends_one_portion_and_learns(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TOGETHER", 10)
    pair.map.commit(logins(*many(100)))
    pair.engine.before["put"] = pair.sender.hurry
    pair.turn()
    assert pair.waiting == 90


# Walks


def test_what_is_imported_during_a_walk_is_offered_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TOGETHER", 2)
    monkeypatch.setattr(sending, "_PORTIONS", 2)
    pair.map.commit(logins(*many(10), sharing=False))
    pair.turn()
    assert len(pair.engine.logins) == 4
    imported = [b"198.17.0.1", b"198.17.0.2"]  # before the place that the walk has reached
    pair.map.commit(logins(*imported, sharing=False))
    with pair.map.changing() as tables:
        outbox.tell_again(tables)
    now = float(int(time.time()))
    hand.restore(pair.map, [Bar("user", b"eve", now, now + 60)])
    pair.turn(5)
    assert pair.engine.addresses() == {*many(10), *imported}
    assert [record.act for record in pair.engine.orders.values()] == ["bar"]
    before = pair.sender.delivery.offered
    pair.turn(2)
    assert pair.sender.delivery.offered == before == 2


def test_what_is_imported_while_the_last_are_offered_is_offered_too(pair: Pair) -> None:
    pair.map.commit(logins(*many(3), sharing=False))

    def imports() -> None:
        pair.map.commit(logins(b"198.17.0.1", sharing=False))
        with pair.map.changing() as tables:
            outbox.tell_again(tables)

    pair.engine.before["put"] = imports
    pair.turn()
    assert b"198.17.0.1" not in pair.engine.addresses()
    pair.turn()
    assert pair.engine.addresses() == {*many(3), b"198.17.0.1"}


def test_a_restart_in_the_middle_of_a_walk_begins_it_anew(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server keeps its name."""
    monkeypatch.setattr(sending, "TOGETHER", 2)
    monkeypatch.setattr(sending, "_PORTIONS", 2)
    pair.map.commit(logins(*many(10), sharing=False))
    pair.turn()
    pair.engine.restarts_empty("one")
    pair.engine.started = 1000.0
    pair.turn(4)
    assert pair.engine.addresses() == set(many(10))


def test_what_was_sent_at_once_to_data_that_are_gone_is_sent_again(pair: Pair) -> None:
    pair.turn()
    changes = logins(b"198.18.0.1")
    pair.express._put(changes.news)
    pair.engine.restarts_empty("two")
    pair.turn(2)  # all that the map has is offered, and this is not yet in it
    pair.map.commit(changes)
    pair.turn()
    assert pair.waiting == 0
    assert pair.engine.addresses() == {b"198.18.0.1"}


def test_what_is_being_sent_while_the_data_go_does_not_count_as_sent(pair: Pair) -> None:
    pair.turn()
    changes = logins(b"198.18.0.1")
    pair.engine.before["put"] = pair.express.forget_all
    pair.express._put(changes.news)
    (login,) = changes.logins.items()
    with pair.map.changing() as tables:
        assert not tables.count(b"outbox")
    pair.map.commit(changes)
    with pair.map.reading() as tables:
        ((_, expires),) = tables.all(b"outbox")
    assert not pair.express.has_sent(login[0], expires)


# Orders of others and of our own about the same


def test_an_order_that_is_given_while_anothers_is_learned_does_not_hide_it(pair: Pair) -> None:
    """Ours is of an earlier second, since our clock is behind: theirs counts."""
    pair.turn()
    now = float(int(time.time()))
    pair.engine.put_records([record_of(Bar("user", b"bob", now + 1, now + WEEK), "root@mx2")], now)
    ours = Bar("user", b"bob", now, now)

    def revoke() -> None:
        hand.bar(pair.map, ours, "root", "revoke")

    pair.engine.before["records"] = revoke
    pair.turn()
    assert pair.sender.delivery.version < pair.engine.version  # nothing is believed until then
    pair.turn(2)
    assert bars(pair.map) == {b"bob": pytest.approx(now + WEEK)}
    assert pair.sender.delivery.version == pair.engine.version


def test_an_order_of_ours_that_does_not_count_gives_way_again(pair: Pair) -> None:
    pair.turn()
    now = float(int(time.time()))
    pair.engine.put_records([record_of(Bar("user", b"bob", now + 9, now + WEEK), "root@mx2")], now)
    pair.turn()
    assert hand.unblock(pair.map, Bar("user", b"bob", now, now), "root")
    pair.turn()
    assert bars(pair.map) == {b"bob": pytest.approx(now + WEEK)}


def test_a_copy_that_could_not_be_written_is_written_later(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.turn()
    now = float(int(time.time()))
    pair.engine.put_records([record_of(Bar("user", b"eve", now, now + 60), "root@mx2")], now)
    broken = tmp_path / "map" / copy.NAME
    kept = broken.read_bytes() if broken.exists() else b""
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _fails)
        patch.setattr(Path, "replace", _fails)
        with pytest.raises(MapError):
            pair.turn()
    assert bars(pair.map) == {b"eve": now + 60}
    assert (broken.read_bytes() if broken.exists() else b"") == kept
    pair.turn()
    assert [getattr(order, "name", b"") for order in copy.read_copy(tmp_path / "map")] == [b"eve"]


def _fails(*_: object) -> None:
    raise OSError(28, "No space left on device")


# Whether grants are shared


def test_that_grants_are_shared_is_written_as_soon_as_the_disk_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants = Map(tmp_path / "map", "daemon")
    writer = Writer(grants, lambda: None)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(grants, "changing", _full)
            writer.call(lambda: switch(grants, "mx1"))
            writer.tidy(time.time())
            until(lambda: not writer.tidying, "the writer has tried")
            assert not hand.shares(grants)
        writer.commit(logins(b"198.18.0.1"))
        until(lambda: hand.shares(grants), "it is tried again with the next commit")
    finally:
        writer.close()
        grants.close()


def _full() -> None:
    raise MapError("no space left")


def test_the_sending_thread_writes_it_too(tmp_path: Path) -> None:
    grants = Map(tmp_path / "map", "daemon")
    pair = Pair(grants)
    pair.turn()
    assert hand.shares(grants)
    pair.sender.end(replaced=True)
    switch(grants, "")
    pair.turn()  # one that was under way when sharing ended
    assert not hand.shares(grants)
    grants.close()


def test_what_is_kept_for_others_goes_also_where_that_was_cut_short(grants: Map) -> None:
    grants.commit(logins(*many(30)))
    with grants.changing() as tables:
        outbox.end(tables)
        assert outbox.clear(tables, 10)
        assert tables.count(b"outbox") == 20
    switch(grants, "")
    with grants.reading() as tables:
        assert tables.count(b"outbox") == 0
