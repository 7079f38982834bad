"""Revocations, blocks and permanent grants of one host count on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_watch.grants import rows
from pbs_watch.grants.orders import MEMORY, Allow, Bar
from pbs_watch.grants.records import Record, merged, pack, record_of, unpack
from tests.daemon import NO, OK, until
from tests.engines import Redis
from tests.hosts import PATIENT, Host
from tests.shared.test_several_hosts import url

Start = Callable[..., Host]


@pytest.fixture
def pair(engine: Redis, host: Start) -> tuple[Host, Host]:
    return host("a", url(engine), *PATIENT), host("b", url(engine), *PATIENT)


def test_a_revocation_ends_what_others_have_kept(pair: tuple[Host, Host]) -> None:
    first, second = pair
    first.logs_in("198.18.0.1", "198.18.0.2")
    assert second.ask("198.18.0.1") == OK
    assert second.ask("198.18.0.2") == OK
    second.by_hand("revoke", "198.18.0.1")
    assert second.ask("198.18.0.1") == NO
    until(lambda: first.knows_not("198.18.0.1"), "the host of the login knows")
    assert first.ask("198.18.0.2") == OK
    first.logs_in("198.18.0.1")
    assert second.ask("198.18.0.1") == OK  # a new login grants again


def test_a_record_that_cannot_be_read_costs_no_other(
    engine: Redis, pair: tuple[Host, Host]
) -> None:
    first, second = pair
    engine.client().hset("pbs-watch:orders", b"BUe\x1bve", b"rubbish")
    first.logs_in("198.18.0.1")
    assert second.ask("198.18.0.1") == OK
    first.by_hand("revoke", "198.18.0.1")
    until(lambda: second.knows_not("198.18.0.1"), "the order is learned")
    assert "there is no order" in first.daemon.said
    assert "\x1b" not in first.daemon.said


def test_what_is_only_in_the_engine_is_void_too(pair: tuple[Host, Host]) -> None:
    first, second = pair
    first.logs_in("198.18.0.1")
    first.is_in_step()
    second.by_hand("revoke", "198.18.0.1")
    assert second.ask("198.18.0.1") == NO


def test_a_user_loses_his_grants_and_others_at_the_address_keep_theirs(
    pair: tuple[Host, Host],
) -> None:
    first, second = pair
    first.logs_in("198.18.0.1", user="alice")
    first.logs_in("198.18.0.1", "198.18.0.2", user="bob")
    first.is_in_step()
    second.by_hand("revoke", "--user", "bob")
    assert second.ask("198.18.0.2") == NO
    assert second.ask("198.18.0.1") == OK
    until(lambda: first.knows_not("198.18.0.2"), "the other host knows")
    assert first.ask("198.18.0.1") == OK


def test_a_block_holds_everywhere_until_it_is_ended(pair: tuple[Host, Host]) -> None:
    first, second = pair
    first.by_hand("block", "198.18.0.0/24", "--for", "1h", "--note", "spam")
    until(lambda: "198.18.0.0/24" in orders(second), "it is learned")
    second.logs_in("198.18.0.1")
    assert second.ask("198.18.0.1") == NO
    assert first.ask("198.18.0.1") == NO
    second.by_hand("unblock", "198.18.0.0/24")
    second.logs_in("198.18.0.2")
    assert second.ask("198.18.0.2") == OK
    until(lambda: first.knows("198.18.0.2"), "the other host knows that it is over")


def test_permanent_grants_come_and_go(pair: tuple[Host, Host]) -> None:
    first, second = pair
    first.by_hand("allow", "2001:db8::/48", "--permanent", "--note", "the office")
    until(lambda: second.knows("2001:db8::5"), "it is learned")
    assert "the office" in orders(second)
    second.by_hand("revoke", "2001:db8::/48")
    assert second.ask("2001:db8::5") == NO
    until(lambda: first.knows_not("2001:db8::5"), "its end is learned")
    second.daemon.stop()
    second.daemon.start()
    assert second.ask("2001:db8::5") == NO


def test_who_was_cut_off_does_not_bring_back_what_was_ended(
    engine: Redis, pair: tuple[Host, Host]
) -> None:
    """Even where the engine has forgotten everything meanwhile."""
    first, second = pair
    first.by_hand("allow", "198.18.0.1", "--permanent")
    until(lambda: second.knows("198.18.0.1"), "it is learned")
    second.daemon.stop()
    first.by_hand("revoke", "198.18.0.1")
    first.is_in_step()
    engine.client().flushall()
    second.daemon.start()
    until(lambda: second.knows_not("198.18.0.1"), "it learns that it is over")
    second.is_in_step()
    assert first.ask("198.18.0.1") == NO


def test_the_audit_trail_tells_who_gave_the_order_where(engine: Redis, host: Start) -> None:
    first = host("mx1", url(engine), *PATIENT)
    second = host("mx2", url(engine), "--audit", "text", *PATIENT)
    first.by_hand("block", "198.18.0.1", "--for", "1h")
    until(lambda: "@mx1" in second.daemon.said, "the act is told")
    first.is_in_step()
    assert second.daemon.said.count("@mx1") == 1


def test_a_forgotten_user_is_forgotten_by_the_engine(
    engine: Redis, pair: tuple[Host, Host]
) -> None:
    first, _ = pair
    first.logs_in("198.18.0.1", user="bob")
    first.by_hand("block", "--user", "bob", "--for", "1h")
    first.is_in_step()
    first.by_hand("forget", "bob")
    until(lambda: not named(engine), "nothing names him")


def named(engine: Redis) -> list[bytes]:
    """The keys of what names bob."""
    client = engine.client()
    return [
        key
        for key in client.keys("*")
        if client.type(key) == b"hash" and any(b"bob" in field for field in client.hgetall(key))
    ]


def orders(host: Host) -> str:
    return host.by_hand("list", "--orders").out.decode()


# What counts of two records

NAME = rows.order_key(Bar("network", b"198.18.0.0/24", 0.0, 0.0))
times = st.floats(1e9, 2e9).map(float)


@st.composite
def records(draw: st.DrawFn) -> Record:
    act, since = draw(st.sampled_from(["bar", "unblock"])), draw(times)
    until = since if act == "unblock" else since + draw(st.floats(0, 1e6))
    return Record(NAME, act, since, until, "root@mx", draw(st.text(max_size=5)))  # type: ignore[arg-type]


@given(records(), records())
def test_it_makes_no_difference_which_of_two_comes_first(one: Record, other: Record) -> None:
    assert merged(one, other) == merged(other, one)
    assert merged(merged(one, other), other) == merged(one, other)


@given(records())
def test_a_record_is_what_was_written(record: Record) -> None:
    assert unpack(record.key, pack(record)) == record


def test_a_revocation_does_not_shorten_a_block_and_an_unblock_does() -> None:
    now = time.time()
    block = record_of(Bar("user", b"bob", now, now + 3600), "a")
    revoke = record_of(Bar("user", b"bob", now + 1, now + 1), "b")
    unblock = record_of(Bar("user", b"bob", now + 2, now + 2), "c", "unblock")
    assert merged(block, revoke).until == now + 3600
    assert merged(merged(block, revoke), unblock).until == now + 2
    assert merged(unblock, block) == unblock


def test_records_are_kept_as_long_as_they_can_matter() -> None:
    ended = record_of(Allow(b"198.18.0.1", 1e9, None), "a", "end")
    assert not ended.over(1e9 + MEMORY - 1)
    assert ended.over(1e9 + MEMORY)
    assert not record_of(Allow(b"198.18.0.1", 1e9, None), "a").over(2e9)


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b"\xff", b'{"act":"let","since":1,"until":null,"by":"","note":""}',
     b'{"act":"bar","since":"x","until":null,"by":"","note":""}',
     b'{"act":"bar","since":1,"until":2,"by":1,"note":""}'],
)  # fmt: skip
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind
        unpack(NAME, value)
