"""``why``: an address explained to a postmaster (README, design.md, Commands)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbs_watch.commands.reasons import REASONS
from pbs_watch.durations import local
from pbs_watch.grants import hand, judge
from pbs_watch.grants.changes import (
    Changes,
    Hold,
    Refusal,
    RefusalKey,
    SessionKey,
    grant,
)
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.rows import source_id
from pbs_watch.grants.store import Map
from tests.daemon import Daemon, Ended, Log, command, line, login, refused, refused_to_nobody, until

HERE = b"198.18.1.2"
NOW = float(int(time.time()))


class Told:
    """A map that a test fills, and what ``why`` says of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grants = Map(path, "daemon")

    def commit(self, changes: Changes) -> None:
        changes.orders = self.grants.obey().version
        self.grants.commit(changes)

    def login(
        self,
        user: bytes = b"bob",
        *,
        at: float = NOW,
        address: bytes = HERE,
        window: float = 1800.0,
        place: tuple[int, int, int] = (0, 0, 0),
        source: str = "",
    ) -> None:
        changes = Changes()
        changes.login(address, grant(at + window, at, user, b"pop3d", place))
        if source:
            changes.names[place[0]] = source
        self.commit(changes)

    def refuse(self, reason: str, user: bytes = b"eve", times: int = 1) -> None:
        changes = Changes()
        for _ in range(times):
            changes.refuse(
                RefusalKey(HERE, reason, user), Refusal(NOW - 9, NOW - 5, 1, b"pop3d", 0, 0, 0)
            )
        self.commit(changes)

    def why(self, *words: str, address: str = "198.18.1.2") -> Ended:
        ended = command("why", address, "--map", self.path, *words)
        assert ended.err == ""
        for text in ended.lines:
            # But for the log line itself, and for paths, which stay whole to be copied.
            whole = text.startswith("    ") or str(self.path.parent) in text
            assert len(text) <= 80 or whole or "--json" in words, text
        return ended

    def text(self, *words: str, address: str = "198.18.1.2") -> str:
        """What is said, as one line, however it was folded."""
        return " ".join(self.why(*words, address=address).out.decode().split())

    def json(self, *words: str, address: str = "198.18.1.2") -> dict[str, list[dict[str, object]]]:
        found = json.loads(self.why("--json", *words, address=address).out)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "map")


class TestTheVerdict:
    def test_a_login(self, told: Told) -> None:
        told.login()
        ended = told.why()
        assert ended.status == 0
        assert ended.lines[0] == f"198.18.1.2 may relay until {local(NOW + 1800)}"
        assert "by a login of bob (pop3d), " + local(NOW) in told.text()

    def test_nobody(self, told: Told) -> None:
        ended = told.why()
        assert ended.status == 1
        assert ended.lines[0] == "198.18.1.2 may not relay"
        assert "Nothing is known: no login, order, past grant or refusal." in ended.lines

    def test_a_window_that_is_over(self, told: Told) -> None:
        told.login(at=NOW - 1801)
        ended = told.why()
        assert (ended.status, ended.lines[0]) == (1, "198.18.1.2 may not relay")
        assert f"bob (pop3d) until {local(NOW - 1)} (over)" in told.text()

    def test_an_open_session(self, told: Told) -> None:
        told.login(at=NOW - 7200)
        changes = Changes()
        key = SessionKey(b"imapd", b"bob", b"4711")
        changes.session(HERE, key, Hold(NOW + 3600, NOW - 7200))
        told.commit(changes)
        ended = told.why()
        assert ended.status == 0
        assert ended.lines[0].endswith(f"may relay until {local(NOW + 3600)} at the latest")
        assert "Sessions imapd of bob, port 4711" in told.text()
        assert "its window is over, an open session holds the address" in told.text()

    def test_the_operator_allowed_it(self, told: Told) -> None:
        hand.allow(told.grants, Allow(b"198.18.0.0/16", NOW, None, "the office"), "root")
        ended = told.why()
        assert (ended.status, ended.lines[0]) == (0, "198.18.1.2 may relay permanently")
        assert "by the operator, 198.18.0.0/16 allowed" in told.text()
        assert "the office" in told.text()

    def test_a_block_within_an_allowed_network(self, told: Told) -> None:
        hand.allow(told.grants, Allow(b"198.18.0.0/16", NOW, None), "root")
        block = Bar("network", HERE, NOW, NOW + 3600, "spam")
        hand.bar(told.grants, block, "root", "block")
        assert told.why().status == 1
        assert "permanently, but a block counts more" in told.text()
        assert f"198.18.1.2 blocked {local(NOW)} until {local(NOW + 3600)}: spam" in told.text()

    def test_the_network_of_an_ipv6_address(self, told: Told) -> None:
        told.login(address=b"2001:db8::/64")
        ended = told.why(address="2001:DB8::0:5")
        assert ended.status == 0
        assert ended.lines[0].startswith("2001:db8::5 may relay until ")
        assert "for all of 2001:db8::/64" in told.text(address="2001:db8::5")

    @pytest.mark.parametrize("address", ["198.18.1.2", "198.18.1.3", "198.18.1.4", "2001:db8::7"])
    def test_it_is_what_a_lookup_says(self, told: Told, address: str) -> None:
        told.login()
        told.login(at=NOW - 4000, address=b"198.18.1.3")
        told.login(address=b"2001:db8::/64")
        hand.allow(told.grants, Allow(b"198.18.1.4", NOW, NOW + 60), "root")
        assert told.why(address=address).status == command(
            "get", address, "--map", told.path
        ).status  # fmt: skip


class TestWhatIsKnown:
    def test_since_when_without_a_gap(self, told: Told) -> None:
        told.login(at=NOW - 2100)
        told.login(at=NOW - 600)
        assert f"without a gap since {local(NOW - 2100)}" in told.text()

    def test_each_user(self, told: Told) -> None:
        told.login(b"bob", at=NOW - 600)
        told.login(b"alice")
        text = told.text()
        assert f"alice (pop3d) until {local(NOW + 1800)}" in text
        assert f"bob (pop3d) until {local(NOW + 1200)}" in text

    def test_of_many_users_only_some(self, told: Told) -> None:
        for number in range(15):
            told.login(b"user%d" % number, at=NOW - number)
        assert "and 5 more" in told.text()
        assert len(told.json()["users"]) == 15

    def test_a_revoked_user(self, told: Told) -> None:
        told.login()
        bar = Bar("user", b"bob", NOW + 1, NOW + 1, "password stolen")
        hand.bar(told.grants, bar, "root", "revoke")
        assert told.why().status == 1
        assert f"user bob: logins revoked {local(NOW + 1)}: password stolen" in told.text()
        assert f"Past {local(NOW)} to {local(NOW + 1)}, bob (pop3d)" in told.text()

    def test_orders_of_others_are_not_told(self, told: Told) -> None:
        hand.allow(told.grants, Allow(b"198.51.100.0/24", NOW, None), "root")
        hand.bar(told.grants, Bar("user", b"zoe", NOW, NOW), "root", "revoke")
        assert "Nothing is known" in told.text()

    @pytest.mark.parametrize("reason", [*judge.REASONS, "suspect", "relay_limit"])
    def test_each_refusal_in_words(self, told: Told, reason: str) -> None:
        told.refuse(reason, times=3)
        text = told.text()
        assert f"eve, 3 times, {local(NOW - 9)} to {local(NOW - 5)}: {REASONS[reason].one}" in text

    def test_of_many_refusals_only_some(self, told: Told) -> None:
        for number in range(13):
            told.refuse("never", b"user%d" % number)
        assert "and 3 more reasons or users" in told.text()

    def test_nobody_answers_for_lookups(self, told: Told) -> None:
        assert "Last lookup not known: no daemon answers" in told.text()
        assert told.json()["last_lookup"] is None


class TestTheLine:
    LINE = b"Nov 23 12:00:00 mail pop3d: LOGIN, user=bob, ip=[198.18.1.2], port=[4242]\n"

    def written(self, told: Told, path: Path, text: bytes, offset: int = 0) -> None:
        path.write_bytes(text)
        place = (source_id(str(path)), path.stat().st_ino, offset)
        told.login(place=place, source=str(path))

    def test_is_shown_with_its_place(self, told: Told, tmp_path: Path) -> None:
        log = tmp_path / "mail.log"
        self.written(told, log, b"first\n" + self.LINE, 6)
        assert "    " + self.LINE.decode().rstrip() in told.why().lines
        assert f"in {log}, inode {log.stat().st_ino}, byte 6" in told.text()
        row = told.json()["granted"][0]
        assert (row["source"], row["offset"]) == (str(log), 6)
        assert row["line"] == self.LINE.decode().rstrip()

    def test_is_found_in_a_rotated_file(self, told: Told, tmp_path: Path) -> None:
        log = tmp_path / "mail.log"
        self.written(told, log, self.LINE)
        log.rename(tmp_path / "mail.log.1")
        log.write_bytes(b"another\n")
        assert told.json()["granted"][0]["line"] == self.LINE.decode().rstrip()

    def test_steers_no_terminal(self, told: Told, tmp_path: Path) -> None:
        self.written(told, tmp_path / "mail.log", b"bob \x1b[2J\x9b\xe2\x80\xae\r\n")
        out = told.why().out
        assert b"    bob \\x1b[2J\\x9b\\xe2\\x80\\xae\\x0d\n" in out

    def test_is_bounded(self, told: Told, tmp_path: Path) -> None:
        self.written(told, tmp_path / "mail.log", b"bob " * 50_000 + b"\n")
        assert len(told.why().out) < 2000

    @pytest.mark.parametrize(
        ("text", "offset"),
        [
            (b"Nov 23 12:00:00 mail pop3d: of somebody else\n", 0),
            (b"in the middle " + LINE, 14),
            (b"bob has not ended his line", 0),
            (b"\x1f\x8b\x08 bob compressed\n", 0),
            (b"", 0),
            (LINE, 9999),
        ],
    )
    def test_is_not_shown_where_it_does_not_stand(
        self, told: Told, tmp_path: Path, text: bytes, offset: int
    ) -> None:
        self.written(told, tmp_path / "mail.log", text, offset)
        assert told.json()["granted"][0]["line"] is None

    def test_a_file_that_is_gone(self, told: Told, tmp_path: Path) -> None:
        self.written(told, tmp_path / "mail.log", self.LINE)
        (tmp_path / "mail.log").unlink()
        assert "inode" in told.text()
        assert told.json()["granted"][0]["line"] is None

    def test_a_fifo_with_its_number_does_not_keep_us(self, told: Told, tmp_path: Path) -> None:
        fifo = tmp_path / "mail.log"
        os.mkfifo(fifo)
        place = (source_id(str(fifo)), fifo.stat().st_ino, 0)
        told.login(place=place, source=str(fifo))
        assert told.json()["granted"][0]["line"] is None


class TestAtAnotherTime:
    def test_during_a_grant_of_the_past(self, told: Told) -> None:
        told.login(at=NOW - 90_000)
        told.login()
        ended = told.why("--at", f"{NOW - 89_000:.0f}")
        assert ended.status == 0
        assert ended.lines[:2] == [
            f"198.18.1.2 could relay at {local(NOW - 89_000)}",
            f"It could until {local(NOW - 88_200)}.",
        ]
        assert told.why("--at", f"{NOW - 91_000:.0f}").status == 1
        assert told.why("--at", f"{NOW - 50_000:.0f}").status == 1

    def test_before_the_first_login(self, told: Told) -> None:
        told.login()
        ended = told.why("--at", f"{NOW - 60:.0f}")
        assert ended.status == 1
        assert ended.lines[0] == f"198.18.1.2 could not relay at {local(NOW - 60)}"
        assert "of that time" in told.text("--at", f"{NOW - 60:.0f}")

    def test_farther_back_than_is_remembered(self, told: Told) -> None:
        ended = told.why("--at", "2020-01-01T00:00:00")
        assert ended.status == 1
        assert ended.lines[0] == "198.18.1.2 could not relay at 2020-01-01 00:00:00"
        assert "does not remember that far back: what is over it keeps for 7d." in ended.lines[1]

    def test_in_the_future(self, told: Told) -> None:
        told.login()
        soon, late = told.why("--at", f"{NOW + 900:.0f}"), told.why("--at", f"{NOW + 9000:.0f}")
        assert (soon.status, late.status) == (0, 1)
        assert soon.lines[:2] == [
            f"198.18.1.2 may relay at {local(NOW + 900)}",
            f"It may until {local(NOW + 1800)}. That is if nothing changes.",
        ]
        assert late.lines[:2] == [
            f"198.18.1.2 may not relay at {local(NOW + 9000)}",
            "That is if nothing changes.",
        ]

    def test_while_an_allow_stood_that_does_no_more(self, told: Told) -> None:
        hand.allow(told.grants, Allow(b"198.18.0.0/16", NOW - 600, None, "the fair"), "root")
        bar = Bar("network", b"198.18.0.0/16", NOW - 300, NOW - 300)
        hand.bar(told.grants, bar, "root", "revoke")
        assert told.why().status == 1
        assert told.why("--at", f"{NOW - 700:.0f}").status == 1
        assert told.why("--at", f"{NOW - 400:.0f}").status == 0
        assert "the fair" in told.text("--at", f"{NOW - 400:.0f}")
        assert told.why("--at", f"{NOW - 200:.0f}").status == 1


class TestBesideADaemon:
    def test_the_last_lookup(self, start: Callable[..., Daemon], log: Log) -> None:
        daemon = start("--never", "198.18.9.0/24")
        log.write(login("198.18.1.2", user="alice"), login("198.18.9.9", user="eve"))
        daemon.ask("198.18.1.2")
        daemon.ask("198.18.9.9")
        until(lambda: daemon.get("198.18.1.2") == 0, "it is committed")
        ended = command("why", "198.18.1.2", "--map", daemon.map)
        assert ended.status == 0
        assert "user=alice" in ended.out.decode()
        assert ended.lines[-1].endswith(", answered found")
        ended = command("why", "198.18.9.9", "--map", daemon.map, "--json")
        assert ended.status == 1
        told = json.loads(ended.out)
        assert [row["reason"] for row in told["refusals"]] == ["never"]
        assert "user=eve" in told["refusals"][0]["line"]
        assert told["last_lookup"]["answer"] == "absent"
        ended = command("why", "198.18.7.7", "--map", daemon.map)
        assert "none since the daemon started" in ended.lines[-1]

    def test_an_open_session(self, start: Callable[..., Daemon], log: Log) -> None:
        daemon = start()
        text = "LOGIN, user=bob, ip=[::ffff:198.18.1.2], port=[4711], protocol=IMAP"
        log.write(line(text, tag="imapd"))
        daemon.ask("198.18.1.2")
        until(lambda: daemon.get("198.18.1.2") == 0, "it is committed")
        ended = command("why", "198.18.1.2", "--map", daemon.map)
        assert ended.lines[0].endswith(" at the latest")
        assert "imapd of bob, port 4711" in ended.out.decode()


class TestUsedWrongly:
    @pytest.mark.parametrize(
        "address", ["unknown", "", "198.18.0.0/16", "198.18.1", "[::1]", "fe80::1%eth0"]
    )
    def test_no_address(self, told: Told, address: str) -> None:
        said = refused("why", "--map", told.path, "--", address)
        assert said.endswith("is not an address; write one like 192.0.2.7 or 2001:db8::1")

    def test_no_time(self, told: Told) -> None:
        assert "--at: 'noon' is not a time" in refused(
            "why", "198.18.1.2", "--at", "noon", "--map", told.path
        )

    def test_nothing_at_all(self) -> None:
        assert "see pbs-watch why --help" in refused("why")

    def test_without_a_map(self, tmp_path: Path) -> None:
        said = refused("why", "198.18.1.2", "--map", tmp_path / "none")
        assert said.startswith(f"{tmp_path}/none: there is no map here; ")

    def test_of_a_damaged_map(self, told: Told, tmp_path: Path) -> None:
        told.login()
        told.grants.close()
        shutil.copytree(told.path, tmp_path / "damaged")
        os.truncate(tmp_path / "damaged" / "data.mdb", 8192)
        assert refused("why", "198.18.1.2", "--map", tmp_path / "damaged")

    def test_without_rights(self, told: Told) -> None:
        told.grants.close()
        assert refused_to_nobody("why", "198.18.1.2", path=told.path, closed="data.mdb")


def test_a_daemon_that_stands_still_is_not_waited_for(start: Callable[..., Daemon]) -> None:
    daemon = start()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        ended = command("why", "198.18.0.1", "--map", daemon.map)
        assert time.monotonic() - began < 3
        assert "not known: no daemon answers" in ended.out.decode()
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
