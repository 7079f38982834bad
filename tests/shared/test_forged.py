"""Whatever somebody writes into the engine concerns that alone, and stops nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pbs_watch.commits import Commits
from pbs_watch.grants.changes import grant
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.records import Record, pack, record_of, unpack
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.notices import Notices
from pbs_watch.shared.engine import Shared
from pbs_watch.shared.redis_engine import GRANT, RedisEngine
from pbs_watch.shared.where import Server, Where
from tests.daemon import NO, OK, command, until
from tests.engines import Redis
from tests.hosts import AT_ONCE, Host

Start = Callable[..., Host]

MICROS = 1_000_000


@pytest.fixture
def opened(engine: Redis) -> Iterator[RedisEngine]:
    with closing(RedisEngine(Where("redis", (Server("127.0.0.1", engine.port),), "0"))) as one:
        yield one


def login(address: bytes, user: bytes = b"bob", lasts: float = 600.0) -> Shared:
    now = time.time()
    return Shared(address, user, b"pop3d", now, now + lasts)


# Keys and fields in Redis


def spoil(engine: Redis, address: bytes, how: str) -> None:
    """Somebody writes what is none of ours where an address's logins stand."""
    client, key, now = engine.client(), GRANT + address, int(time.time()) * MICROS
    with closing(client):
        if how == "string":
            client.set(key, "x")
        elif how == "fields":
            fields = (
                b"",
                b"x",
                b"1",
                b"a b c",
                b"-5 1 x",
                b"9" * 5000 + b" 1 x",
                b"9" * 30 + b" 1 x",
            )
            for number, value in enumerate(fields * 3):
                client.hset(key, b"user%d" % number, value)
        else:
            many = {b"user%d" % number: b"%d %d x" % (now * 2, now) for number in range(70_000)}
            client.hset(key, mapping=many)


@pytest.mark.parametrize("how", ["string", "fields", "many"])
def test_a_spoilt_key_concerns_its_address_alone(
    engine: Redis, opened: RedisEngine, host: Start, how: str
) -> None:
    url = f"redis://{engine.where}/0"
    one = host("a", url, *AT_ONCE)
    one.is_in_step()
    opened.put([login(b"198.18.0.1"), login(b"198.18.0.2")])
    spoil(engine, b"198.18.0.9", how)
    found = opened.find([b"198.18.0.1", b"198.18.0.9", b"198.18.0.2"], time.time())
    assert set(found.logins) == {b"198.18.0.1", b"198.18.0.2"}
    for _ in range(4):  # more than it takes to count as unreachable
        assert one.ask("198.18.0.9") == NO
    assert one.ask("198.18.0.1") == OK
    assert {one.address for one in opened.all(time.time())} == {b"198.18.0.1", b"198.18.0.2"}
    opened.forget(b"nobody")
    # The next login from there makes way for itself.
    one.logs_in("198.18.0.9", user="user1")
    one.is_in_step()
    assert one.state()["error"] == ""
    (mine,) = opened.find([b"198.18.0.9"], time.time()).logins[b"198.18.0.9"]
    assert mine.user == b"user1"


def test_an_unreadable_old_login_does_not_outlive_the_new_one(
    engine: Redis, opened: RedisEngine
) -> None:
    with closing(engine.client()) as client:
        client.hset(GRANT + b"198.18.0.9", b"bob", b"9" * 30 + b" 1 x")
    new = login(b"198.18.0.9")
    opened.put([new])
    (found,) = opened.find([b"198.18.0.9"], time.time()).logins[b"198.18.0.9"]
    assert found.expires == pytest.approx(new.expires, abs=1e-3)


def test_a_login_that_cannot_be_told_keeps_no_others_back(
    opened: RedisEngine, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        opened.put([login(b"198.18.0.1"), login(b"198.18.0.9", lasts=1e17), login(b"198.18.0.2")])
    found = opened.find([b"198.18.0.1", b"198.18.0.9", b"198.18.0.2"], time.time())
    assert set(found.logins) == {b"198.18.0.1", b"198.18.0.2"}
    assert [
        record.getMessage().count("cannot be told of 198.18.0.9") for record in caplog.records
    ] == [1]


def test_a_login_dated_in_the_future_gets_around_no_block(engine: Redis, host: Start) -> None:
    one = host("a", f"redis://{engine.where}/0", *AT_ONCE)
    one.by_hand("block", "--user", "bob", "--for", "1h")
    one.is_in_step()
    now = int(time.time()) * MICROS
    with closing(engine.client()) as client:
        for number, user in enumerate((b"bob", b"carol")):
            value = b"%d %d pop3d" % (now + 600 * MICROS, now + 7200 * MICROS)
            client.hset(GRANT + b"198.18.0.%d" % number, user, value)
    assert (one.ask("198.18.0.0"), one.ask("198.18.0.1")) == (NO, OK)
    until(lambda: b"carol" in one.by_hand("list").out, "what was found is committed")
    assert b"bob" not in one.by_hand("list").out
    for number, status in enumerate((1, 0)):
        words = ("--map", one.map, "--config", one.home / "empty.toml")
        assert command("why", f"198.18.0.{number}", *words).status == status


# Times that no row can hold


def test_an_expiry_of_any_size_stops_no_commit(engine: Redis, host: Start) -> None:
    one = host("a", f"redis://{engine.where}/0", *AT_ONCE)
    one.is_in_step()
    now = int(time.time() * MICROS)
    with closing(engine.client()) as client:
        for number, expires in enumerate((2**63 - 1, 2**63, 2**64, 10**30, now + 10**15)):
            client.hset(GRANT + b"198.18.0.%d" % number, b"bob", b"%d %d pop3d" % (expires, now))
    for number in range(5):
        assert one.ask(f"198.18.0.{number}") in {OK, NO}
    one.logs_in("198.18.1.1")
    until(lambda: b"198.18.1.1" in one.by_hand("list", "--json").out, "it is committed")
    assert "198.18.0.4" in {row["address"] for row in json.loads(one.by_hand("list", "--json").out)}
    assert "damaged" not in one.daemon.said


def test_what_others_told_and_no_row_can_hold_is_left_out_and_the_rest_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grants, pending = Map(tmp_path / "map", "daemon"), Pending()
    writer = Writer(grants, lambda: None)
    commits = Commits(grants, pending, writer, save=lambda: None, notices=Notices())
    now = time.time()
    pending.making.login(b"198.18.0.1", grant(now + 60, now, b"bob", b"pop3d", (7, 1, 1)))
    pending.making.login(b"198.18.0.1", grant(1e18, now - 9, b"eve", b"pop3d"))
    pending.making.login(b"198.18.0.2", grant(1e300, now, b"eve", b"pop3d"))
    commits.soon()

    def written() -> bool:
        commits.collect(time.monotonic())
        commits.begin(time.monotonic() + 9)
        return not pending.making and not pending.committing

    until(written, "the rest is written")
    with grants.reading() as tables:
        assert {key for key, _ in tables.all(b"logins")} == {b"198.18.0.1\0bob"}
        assert {key for key, _ in tables.all(b"grants")} == {b"198.18.0.1"}
    assert "left out 2 logins" in caplog.text
    writer.close()
    grants.close()


# Records of orders


GOOD = {"act": "bar", "since": 1.0, "until": 2.0, "by": "eve", "note": ""}


@pytest.mark.parametrize("key", [b"BUbob", b"BE", b"BN198.18.0.0/24", b"BN2001:db8::/32"])
def test_our_own_records_are_read(key: bytes) -> None:
    for act in ("bar", "unblock", "end"):
        assert unpack(key, json.dumps(GOOD | {"act": act}).encode()).key == key
    allow = GOOD | {"act": "allow", "until": None}
    assert unpack(b"A198.18.0.1", json.dumps(allow).encode()).until is None
    bar = Bar("user", b"bob", 1.0, 2.0, "caf\udce9")
    assert unpack(b"BUbob", pack(record_of(bar, "eve"))) == Record(
        b"BUbob", "bar", 1.0, 2.0, "eve", "caf\udce9"
    )


@pytest.mark.parametrize(
    "change",
    [{"since": float("nan")}, {"since": float("inf")}, {"since": -1.0}, {"since": 10**400},
     {"until": float("inf")}, {"until": float("nan")}, {"until": 1e13}, {"until": None},
     {"act": "allow"}, {"act": "none"}, {"act": []}, {"note": 1}, {"note": "\ud800"},
     {"by": "\ud800", "act": "end"}],
)  # fmt: skip
def test_a_record_that_the_map_cannot_hold_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        unpack(b"BUbob", json.dumps(GOOD | change).encode())


@pytest.mark.parametrize(
    "key",
    [b"", b"A", b"B", b"X198.18.0.1", b"BX", b"BEx", b"BU" + b"x" * 419, b"BUa\0b", b"BNx",
     b"Ax", b"BN198.18.0.0/99", b"A198.18.0.1/-1", b"BN\xff"],
)  # fmt: skip
def test_a_record_about_nothing_is_refused_whatever_it_says(key: bytes) -> None:
    for act in ("allow", "bar", "unblock", "end"):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
            unpack(key, json.dumps(GOOD | {"act": act}).encode())


def test_a_record_that_is_no_json_object_is_refused() -> None:
    for value in (b"", b"[]", b"1", b"null", b"[" * 100_000, b"\xff", b'{"act":"end"}'):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
            unpack(b"BUbob", value)
