"""A login on one host opens relaying on all of them; the map answers first, and works alone."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.daemon import NO, OK, TROUBLE, addresses, command, line, until
from tests.engines import Redis
from tests.hosts import PATIENT, Host, listed

Start = Callable[..., Host]


def url(engine: Redis) -> str:
    return f"redis://{engine.where}/0"


def test_the_very_next_lookup_on_another_host(engine: Redis, host: Start) -> None:
    first, second = host("a", url(engine), *PATIENT), host("b", url(engine), *PATIENT)
    first.is_in_step()
    second.is_in_step()
    replies: dict[bytes, int] = {}
    for address in addresses(50):
        first.logs_in(address)
        reply = second.ask(address)
        replies[reply] = replies.get(reply, 0) + 1
    assert replies == {OK: 50}
    found = f"event=found address={addresses(1)[0]} user=bob service=pop3d"
    assert found in second.daemon.said


def test_both_ways_and_ipv6_and_networks(engine: Redis, host: Start) -> None:
    first = host("a", url(engine), *PATIENT)
    second = host("b", url(engine), "--prefix", "64", *PATIENT)
    first.logs_in("2001:db8::1", "198.18.0.1")
    second.logs_in("2001:db8:5::1", "198.18.0.2")
    assert second.ask("2001:db8::1") == OK
    assert second.ask("198.18.0.1") == OK
    assert first.ask("198.18.0.2") == OK
    # The other host grants networks of 64 bits.
    assert first.ask("2001:db8:5::abcd") == OK
    assert first.ask("2001:db8:6::abcd") == NO


def test_what_was_found_is_kept_and_needs_the_engine_no_more(own_redis: Redis, host: Start) -> None:
    first, second = host("a", url(own_redis), *PATIENT), host("b", url(own_redis), *PATIENT)
    first.logs_in("198.18.0.1", "198.18.0.2")
    assert second.ask("198.18.0.1") == OK
    first.is_in_step()
    own_redis.kill()
    assert second.ask("198.18.0.1") == OK
    assert second.ask("198.18.0.2") == TROUBLE
    second.logs_in("198.18.0.3")
    assert second.ask("198.18.0.3") == OK
    own_redis.start()  # empty: it keeps nothing on the disk
    until(lambda: second.knows("198.18.0.2"), "the first host has offered its grants again")
    until(lambda: first.knows("198.18.0.3"), "so has the second one")
    assert first.ask("198.18.0.9") == NO


def test_no_by_choice_while_the_engine_is_away(own_redis: Redis, host: Start) -> None:
    one = host("a", url(own_redis), "--shared-trouble", "no", *PATIENT)
    assert one.ask("198.18.0.1") == NO
    own_redis.kill()
    one.logs_in("198.18.0.2")
    assert one.ask("198.18.0.1") == NO
    assert one.ask("198.18.0.2") == OK


def test_an_engine_that_is_away_at_the_start_is_found_later(own_redis: Redis, host: Start) -> None:
    own_redis.kill()
    one = host("a", url(own_redis), *PATIENT)
    assert one.ask("198.18.0.1") == TROUBLE
    one.logs_in("198.18.0.2")
    assert one.ask("198.18.0.2") == OK
    assert not one.state()["reachable"]
    assert "cannot be reached" in one.state()["error"]
    own_redis.start()
    until(lambda: one.ask("198.18.0.1") == NO, "the engine is asked again")
    one.is_in_step()
    assert set(listed(url(own_redis))) == {"198.18.0.2"}


def test_an_engine_that_hangs_delays_nobody(own_redis: Redis, host: Start) -> None:
    """Stopped, it accepts connections and says nothing: that must not stop the loop."""
    one = host("a", url(own_redis))
    assert one.ask("198.18.0.1") == NO
    one.logs_in("198.18.0.2")
    one.is_in_step()
    own_redis.signal(signal.SIGSTOP)
    took = []
    for _ in range(50):
        began = time.perf_counter()
        assert one.ask("198.18.0.1") == TROUBLE
        took.append(time.perf_counter() - began)
        assert one.ask("198.18.0.2") == OK
    assert max(took) < 1.0
    # After three failures nobody waits for it any more.
    assert sorted(took)[25] < 0.1
    own_redis.signal(signal.SIGCONT)
    until(lambda: one.ask("198.18.0.1") == NO, "it is asked again")
    assert one.state()["opened"] >= 1


def test_a_crash_with_the_engine_away_loses_nothing(own_redis: Redis, host: Start) -> None:
    one = host("a", url(own_redis), *PATIENT)
    own_redis.kill()
    found = addresses(300)
    one.logs_in(*found)
    until(lambda: one.daemon.get(found[-1]) == 0, "all is committed")
    one.daemon.kill()
    own_redis.start()
    assert listed(url(own_redis)) == {}
    one.daemon.start()
    until(lambda: set(listed(url(own_redis))) == set(found), "all is delivered")
    one.is_in_step()


def test_a_session_that_holds_is_renewed_for_the_others(engine: Redis, host: Start) -> None:
    window = ("--window", "3s", *PATIENT)
    first, second = host("a", url(engine), *window), host("b", url(engine), *window)
    imap = "LOGIN, user=bob, ip=[198.18.0.1], port=[1], protocol=IMAP"
    first.log.write(line(imap, tag="imapd"))
    assert second.ask("198.18.0.1") == OK
    later = time.time() + 7
    while time.time() < later:
        assert second.ask("198.18.0.1") == OK
    first.log.write(line("LOGOUT, user=bob, ip=[198.18.0.1], port=[1], headers=0, body=0, "
                         "rcvd=1, sent=1, time=8", tag="imapd"))  # fmt: skip
    until(lambda: second.knows_not("198.18.0.1"), "it is over a window later")
    assert listed(url(engine)) == {}


def test_what_a_host_never_grants_nobody_grants_on_it(engine: Redis, host: Start) -> None:
    first = host("a", url(engine), *PATIENT)
    second = host("b", url(engine), "--never", "198.18.0.0/24", "--ignore-users", "eve", *PATIENT)
    first.logs_in("198.18.0.1", "198.18.1.1")
    first.logs_in("198.18.1.2", user="eve")
    assert second.ask("198.18.1.1") == OK
    assert second.ask("198.18.0.1") == NO
    assert second.ask("198.18.1.2") == NO


def test_names_and_rubbish_are_not_asked_for(engine: Redis, host: Start) -> None:
    one = host("a", url(engine))
    for key in ("mail.example.com", "unknown", "198.18.0", "1" * 3000, "%00"):
        assert one.ask(key) == NO
    assert one.state()["asked"] == 0


def test_rubbish_in_the_engine_grants_nothing(engine: Redis, host: Start) -> None:
    one = host("a", url(engine), *PATIENT)
    client = engine.client()
    later = int((time.time() + 60) * 1e6)
    client.hset("pbs-watch:grant:198.18.0.1", mapping={b"a\0b": f"{later} {later} x"})
    client.hset("pbs-watch:grant:198.18.0.2", mapping={b"u" * 2000: f"{later} {later} x"})
    client.hset("pbs-watch:grant:198.18.0.3", mapping={b"bob": b"rubbish"})
    assert one.ask("198.18.0.1") == NO
    assert one.ask("198.18.0.2") == NO
    assert one.ask("198.18.0.3") == NO
    one.logs_in("198.18.0.4")
    assert one.ask("198.18.0.4") == OK


def test_what_was_there_before_is_offered_when_sharing_begins(
    engine: Redis, host: Start, tmp_path: Path
) -> None:
    """And nothing is kept for others when it ends."""
    alone = host("a", "none")
    alone.logs_in("198.18.0.1")
    assert alone.ask("198.18.0.1") == OK
    alone.by_hand("allow", "198.18.5.0/24", "--permanent")
    assert alone.state_or_none() is None
    alone.daemon.stop()
    config = tmp_path / "a" / "empty.toml"
    config.write_text(f'shared = "{url(engine)}"\n')
    alone.daemon._words = [word for word in alone.daemon._words if word not in {"--shared", "none"}]
    alone.daemon.start()
    other = host("b", url(engine), *PATIENT)
    until(lambda: other.knows("198.18.0.1"), "the login is offered")
    until(lambda: other.knows("198.18.5.9"), "the order is learned")


def test_imported_logins_and_orders_travel_too(engine: Redis, host: Start, tmp_path: Path) -> None:
    first, second = host("a", url(engine), *PATIENT), host("b", url(engine), *PATIENT)
    first.is_in_step()
    rows = tmp_path / "rows"
    rows.write_text(f"ip logintime\n198.18.0.1 {int(time.time())}\n198.18.0.2 0\n")
    first.by_hand("import", str(rows))
    until(lambda: second.knows("198.18.0.1"), "the login")
    until(lambda: second.knows("198.18.0.2"), "the permanent row")


def test_the_engine_is_listed_and_checked(engine: Redis) -> None:
    later = int((time.time() + 60) * 1e6)
    engine.client().hset("pbs-watch:grant:198.18.0.1", b"al\x1bice", f"{later} {later} pop3d")
    said = command("shared", "list", "--shared", url(engine), "--config", "/dev/null")
    assert said.out.startswith(b"198.18.0.1\tal\\x1bice\tpop3d\t")
    assert all(text.isprintable() for text in said.out.decode().replace("\t", "").splitlines())
    checked = command("shared", "check", "--shared", url(engine), "--config", "/dev/null")
    assert checked.status == 0
    assert "fine   shared-login: a login can be written, found and removed there" in checked.lines
    assert set(listed(url(engine))) == {"198.18.0.1"}  # the check leaves nothing


def test_orders_are_listed_in_the_words_of_the_commands(engine: Redis, host: Start) -> None:
    one = host("a", url(engine), *PATIENT)
    one.by_hand("allow", "198.18.5.0/24", "--permanent", "--note", "scanners")
    one.by_hand("block", "--user", "eve", "--for", "1h")
    one.by_hand("revoke", "198.18.6.1")
    until(lambda: one.state()["sent"] >= 3, "they are told")
    words = ("--shared", url(engine), "--config", "/dev/null")
    said = command("shared", "list", "--orders", *words).lines
    found = {tuple(row.split("\t")[:3]) for row in said}
    assert {row[2].partition("@")[2] for row in found} == {"a"}
    assert {row[:2] for row in found} == {
        ("allow", "198.18.5.0/24"), ("block", "user eve"), ("revoke", "198.18.6.1")
    }  # fmt: skip
    rows = json.loads(command("shared", "list", "--orders", "--json", *words).out)
    (allow,) = (row for row in rows if row["what"] == "allow")
    assert (allow["on"], allow["until"], allow["note"]) == ("198.18.5.0/24", None, "scanners")
