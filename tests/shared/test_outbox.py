"""What is to be told is written with what it tells of, and stays until it is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from pbs_watch.grants import hand, outbox, rows
from pbs_watch.grants.anew import beside, carry
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.orders import Allow, Bar, Orders
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.records import unpack
from pbs_watch.grants.store import Map
from pbs_watch.shared.breaker import FAILURES, Breaker
from pbs_watch.shared.engine import Mark, Shared
from pbs_watch.shared.express import Express
from pbs_watch.shared.learn import Learned, Learner, logins, own_records
from pbs_watch.shared.sending import Sender
from pbs_watch.shared.switch import switch

HERE = (1, 2, 3)
"""The place of a line."""

NOW = 1.9e9


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[Map]:
    opened = Map(tmp_path / "map", "daemon")
    switch(opened, "mx1")
    yield opened
    opened.close()


def waiting(grants: Map) -> dict[bytes, bytes]:
    with grants.reading() as tables:
        return dict(tables.all(b"outbox"))


def read_here(changes: Changes, address: bytes, expires: float, user: bytes = b"bob") -> None:
    changes.login(address, grant(expires, NOW, user, b"pop3d", HERE))


def test_logins_that_were_read_here_wait_and_those_of_others_do_not(grants: Map) -> None:
    changes = Changes(sharing=True)
    read_here(changes, b"198.18.0.1", NOW + 60)
    changes.login(b"198.18.0.2", grant(NOW + 60, NOW, b"bob", b"pop3d"))
    assert set(changes.news) == {b"198.18.0.1\0bob"}
    grants.commit(changes)
    assert waiting(grants) == {b"L198.18.0.1\0bob": rows.pack_time(NOW + 60)}


def test_nothing_waits_where_grants_are_not_shared(grants: Map) -> None:
    changes = Changes()
    read_here(changes, b"198.18.0.1", NOW + 60)
    grants.commit(changes)
    assert waiting(grants) == {}


def test_a_batch_that_failed_waits_with_what_came_after_it() -> None:
    pending = Pending(sharing=True)
    read_here(pending.making, b"198.18.0.1", NOW + 60)
    pending.hand_over()
    read_here(pending.making, b"198.18.0.2", NOW + 60)
    pending.failed()
    assert pending.making.outbox == {b"198.18.0.1\0bob", b"198.18.0.2\0bob"}
    assert set(pending.making.news) == {b"198.18.0.1\0bob", b"198.18.0.2\0bob"}


def test_what_is_not_yet_committed_when_sharing_begins_is_told_as_well(grants: Map) -> None:
    """And nothing of it when it ends."""
    pending = Pending()
    read_here(pending.making, b"198.18.0.1", NOW + 60)
    batch = pending.hand_over()
    read_here(pending.making, b"198.18.0.2", NOW + 60)
    pending.making.login(b"198.18.0.3", grant(NOW + 60, NOW, b"bob", b"pop3d"))  # another host's
    pending.share(sharing=True)
    assert set(pending.making.news) == {b"198.18.0.1\0bob", b"198.18.0.2\0bob"}
    grants.commit(batch)
    pending.committed()
    grants.commit(pending.hand_over())
    assert set(waiting(grants)) == {b"L198.18.0.1\0bob", b"L198.18.0.2\0bob"}
    read_here(pending.making, b"198.18.0.4", NOW + 60)
    pending.failed()
    pending.share(sharing=False)
    assert not pending.making.outbox
    assert not pending.making.news
    assert set(pending.making.logins) >= {b"198.18.0.1\0bob", b"198.18.0.4\0bob"}


@pytest.mark.parametrize("sharing", [True, False])
def test_a_batch_that_fails_after_a_reload_goes_by_what_is_so_then(
    sharing: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    pending = Pending(sharing=not sharing)
    read_here(pending.making, b"198.18.0.1", NOW + 60)
    pending.hand_over()
    pending.share(sharing=sharing)
    pending.failed()
    read_here(pending.making, b"198.18.0.2", NOW + 60)
    told = {b"198.18.0.1\0bob", b"198.18.0.2\0bob"} if sharing else set()
    assert pending.making.outbox == set(pending.making.news) == told


def test_what_was_barred_meanwhile_is_not_told() -> None:
    pending = Pending(sharing=True)
    read_here(pending.making, b"198.18.0.1", NOW + 60)
    read_here(pending.making, b"198.18.0.2", NOW + 60, b"alice")
    pending.obey(Orders(1, bars=[Bar("user", b"bob", NOW + 1, NOW + 1)]))
    assert pending.making.outbox == {b"198.18.0.2\0alice"}
    assert set(pending.making.news) == {b"198.18.0.2\0alice"}
    assert pending.making.sharing


def test_a_row_that_was_written_anew_is_not_taken_out(grants: Map) -> None:
    for expires in (NOW + 60, NOW + 120):
        sent = list(waiting(grants).items())
        changes = Changes(sharing=True)
        read_here(changes, b"198.18.0.1", expires)
        grants.commit(changes)
    with grants.changing() as tables:
        outbox.delivered(tables, sent)
    assert waiting(grants) == {b"L198.18.0.1\0bob": rows.pack_time(NOW + 120)}
    with grants.changing() as tables:
        outbox.delivered(tables, list(tables.all(b"outbox")))
    assert waiting(grants) == {}


def test_orders_wait_with_who_gave_them_where(grants: Map) -> None:
    hand.allow(grants, Allow(b"198.18.0.1", NOW, None), "root")
    hand.bar(grants, Bar("network", b"198.18.0.1", NOW + 1, NOW + 1), "root", "revoke")
    found = [unpack(key[1:], value) for key, value in sorted(waiting(grants).items())]
    assert [(one.act, one.by) for one in found] == [("end", "root@mx1"), ("bar", "root@mx1")]


def test_a_user_who_is_forgotten_waits_to_be_forgotten_and_for_nothing_else(grants: Map) -> None:
    changes = Changes(sharing=True)
    read_here(changes, b"198.18.0.1", NOW + 60)
    grants.commit(changes)
    hand.bar(grants, Bar("user", b"bob", NOW, NOW), "root", "revoke")
    hand.forget(grants, b"bob", "root", NOW)
    assert waiting(grants) == {b"Fbob": b""}


def test_what_ends_sharing_keeps_nothing(grants: Map) -> None:
    hand.allow(grants, Allow(b"198.18.0.1", NOW, None), "root")
    assert own_records(grants, "mx1", NOW)
    switch(grants, "")
    assert waiting(grants) == {}
    hand.allow(grants, Allow(b"198.18.0.2", NOW, None), "root")
    assert waiting(grants) == {}


def test_an_order_that_is_still_to_be_told_is_not_replaced(grants: Map) -> None:
    hand.allow(grants, Allow(b"198.18.0.1", NOW + 5, None), "root")
    (told,) = own_records(grants, "mx1", NOW)
    hand.bar(grants, Bar("network", b"198.18.0.1", NOW + 9, NOW + 9), "root", "revoke")
    learner = Learner(grants)
    assert learner.learn([told], NOW + 10) == Learned(0, skipped=True)
    assert grants.obey().allows == ()
    with grants.changing() as tables:
        outbox.delivered(tables, tables.all(b"outbox"))
    assert learner.learn([told], NOW + 10) == Learned(1, skipped=False)
    assert learner.learn([told], NOW + 10) == Learned(0, skipped=False)
    assert [one.network for one in grants.obey().allows] == [b"198.18.0.1"]


def test_all_logins_are_offered_but_those_that_are_over(grants: Map) -> None:
    changes = Changes(sharing=True)
    for number in range(2500):
        read_here(changes, b"198.18.%d.%d" % (number // 250, number % 250), NOW + number)
    grants.commit(changes)
    found = list(logins(grants, NOW + 99.5, 400))
    assert sum(map(len, found)) == 2400
    assert max(map(len, found)) == 400
    assert len({one.address for some in found for one in some}) == 2400


def test_a_map_of_schema_4_keeps_what_it_holds_and_can_share_it(tmp_path: Path) -> None:
    path = tmp_path / "old"
    made = Map(path, "daemon")
    changes = Changes()
    read_here(changes, b"198.18.0.1", NOW + 60)
    made.commit(changes)
    made.close()
    with lmdb.open(str(path), max_dbs=16) as env, env.begin(write=True) as txn:
        for name in (b"outbox", b"shared"):
            txn.drop(env.open_db(name, txn=txn))
        txn.put(b"schema", b"4", db=env.open_db(b"meta", txn=txn))
    grants = Map(path, "daemon")
    assert grants.upgraded_from == "4"
    switch(grants, "mx1")
    assert [one.address for some in logins(grants, NOW, 10) for one in some] == [b"198.18.0.1"]
    hand.allow(grants, Allow(b"198.18.5.0/24", NOW, None), "root")
    assert list(waiting(grants)) == [b"OA198.18.5.0/24"]
    grants.close()


def test_a_new_map_in_the_place_of_a_damaged_one_still_tells(grants: Map, tmp_path: Path) -> None:
    """What ``rebuild`` does: the orders that others have not heard of are not forgotten."""
    hand.bar(grants, Bar("user", b"eve", NOW, NOW + 60), "root", "block")
    with beside(tmp_path / "map", 0.0) as new:
        carry(grants, new)
        assert waiting(new) == waiting(grants)
        assert [record.act for record in own_records(new, "mx1", NOW)] == ["bar"]
        with new.reading() as tables:
            assert outbox.on(tables)
            assert tables.get(b"meta", rows.OFFERED) is None


class Noting:
    """An engine that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def put(self, logins: list[Shared]) -> None:
        self.told += [login.address for login in logins]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("replaced", [True, False])
def test_an_engine_that_is_replaced_is_told_and_leaves_the_outbox_to_the_next(
    grants: Map,
    replaced: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    changes = Changes(sharing=True)
    read_here(changes, b"198.18.0.1", time.time() + 60)
    grants.commit(changes)
    engine = Noting()
    express = Express(engine)  # type: ignore[arg-type]
    sender = Sender(grants, engine, express, window=60, host="a", wake=lambda: None)  # type: ignore[arg-type]
    sender.end(replaced=replaced)
    sender.begin()
    sender.join(10)
    assert engine.told == [b"198.18.0.1"]
    assert bool(waiting(grants)) == replaced


# When the engine is worth asking, and whether it may have lost something


def test_the_breaker_opens_after_failures_in_a_row_and_closes_with_a_success() -> None:
    breaker = Breaker()
    for _ in range(3):
        assert not any(breaker.failed() for _ in range(FAILURES - 1))
        assert not breaker.succeeded()
    assert [breaker.failed() for _ in range(FAILURES + 1)] == [False, False, True, False]
    assert breaker.open
    assert breaker.opened == 1
    assert breaker.succeeded()
    assert not breaker.open


def test_a_restart_is_told_from_a_second_look() -> None:
    mark = Mark("name 1", 5, 1000.0)
    assert mark.is_same(mark.name())
    assert Mark("name 1", 9, 1002.0).is_same(mark.name())
    assert not Mark("name 1", 5, 1060.0).is_same(mark.name())
    assert not Mark("name 2", 5, 1000.0).is_same(mark.name())
    assert not mark.is_same(None)
    assert not mark.is_same(b"\xff")
