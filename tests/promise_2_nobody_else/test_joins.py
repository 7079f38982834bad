"""Two lines make one login or session end, and never a login of anybody else's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch import replay as replaying
from pbs_watch.chain import Chain
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.events import End, Event, Login, Part
from pbs_watch.grants.joins import MOST, Joins
from pbs_watch.grants.listing import granted
from pbs_watch.grants.store import Map
from pbs_watch.log import segments
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.library import load_text
from pbs_watch.pattern.scan import Scanner
from pbs_watch.replay import opened_map, replay
from tests.logs import HOUR, at, policy

NOW = at("2026-11-22 08:45:00")

MODES: tuple[Mode, ...] = ("strict", "next", "off")

BY_PID = """format two
    tag two
    join pid within 60s
    cut 200 then 4096 bytes or 1s
    cut "GARBAGE"
    open "from " address
    login "passed " user
    fail "failed " user
    example login "Nov 22 08:00:00 mail two[1]: from 192.0.2.1"
                  "Nov 22 08:00:00 mail two[1]: passed bob" user bob address 192.0.2.1
    example nothing "Nov 22 08:00:00 mail two[1]: from 192.0.2.1"
                    "Nov 22 08:00:00 mail two[1]: failed bob"
                    "Nov 22 08:00:00 mail two[1]: passed bob"
    example nothing "Nov 22 08:00:00 mail two[1]: from 192.0.2.1"
                    "Nov 22 08:01:01 mail two[1]: passed bob"
    example nothing "Nov 22 08:00:00 mail two[1]: from 192.0.2.1"
                    "Nov 22 08:00:00 other two[1]: passed bob"
    example cut "Nov 22 08:00:00 mail two[1]: GARBAGE"
"""

BY_SESSION = """format named
    tag named
    join session within 12h
    login hold "in " name " " address " <" session ">"
    end "out " name " <" session ">"
    end norenew "idle " name " <" session "> " seconds
    end "gone <" session ">"
    example login "Nov 22 08:00:00 mail named: in bob 192.0.2.1 <s1>" user bob
    example end "Nov 22 08:00:00 mail named: in bob 192.0.2.1 <s1>"
                "Nov 22 08:00:00 mail named: out bob <s1>" user bob address 192.0.2.1
    example end "Nov 22 08:00:00 mail named: in bob 192.0.2.1 <s1>"
                "Nov 22 08:00:00 mail named: idle bob <s1> 7" user bob address 192.0.2.1
    example end "Nov 22 08:00:00 mail named: in bob 192.0.2.1 <s1>"
                "Nov 22 08:00:00 mail named: gone <s1>" user bob address 192.0.2.1
    example nothing "Nov 22 08:00:00 mail named: in bob 192.0.2.1 <s1>"
                    "Nov 22 08:00:00 mail named: out eve <s1>"
"""

(TWO,) = load_text("two.pattern", BY_PID)
(NAMED,) = load_text("named.pattern", BY_SESSION)


def said(text: str, pid: int | None = 5, *, time: str = "08:30:00", host: str = "mail") -> bytes:
    tag = "two" if pid is None else f"two[{pid}]"
    return f"2026-11-22T{time}.000000+00:00 {host} {tag}: {text}\n".encode()


def session(text: str, *, time: str = "08:30:00") -> bytes:
    return f"2026-11-22T{time}.000000+00:00 mail named: {text}\n".encode()


class Watching:
    """A log that goes through the chain block by block."""

    def __init__(self, fmt: Format = TWO, mode: Mode = "strict", source: int | None = None) -> None:
        self.cuts = Cuts(mode)
        self.chain = Chain(Scanner((fmt,), Clock(UTC)), policy(), joins=Joins(source))
        self.changes = Changes()
        self.told: list[tuple[Event, str]] = []

    def feed(self, *lines: bytes) -> None:
        block = b"".join(lines)
        scanned = self.chain.scanner.scan(block, 0, len(block), self.cuts, NOW)
        self.chain.joins.lost(self.cuts.gaps, self.changes)
        self.chain.take(
            scanned, NOW, self.changes, tell=lambda event, why: self.told.append((event, why))
        )

    @property
    def granted(self) -> dict[str, str]:
        """The users by the addresses from which they were granted."""
        return {name.decode(): one.user.decode() for name, one in self.changes.grants.items()}


def after(*lines: bytes, fmt: Format = TWO, mode: Mode = "strict") -> dict[str, str]:
    watching = Watching(fmt, mode)
    watching.feed(*lines)
    return watching.granted


def test_an_open_and_a_login_of_one_process_make_a_login() -> None:
    assert after(said("from 198.18.0.1"), said("passed bob")) == {"198.18.0.1": "bob"}
    assert after(said("from 2001:DB8::1"), said("passed al ice")) == {"2001:db8::1": "al ice"}


def test_processes_interleave() -> None:
    lines = [said(f"from 198.18.0.{n}", n) for n in range(1, 9)]
    lines += [said(f"passed user{n}", n) for n in (3, 1, 8, 5)]
    assert after(*lines) == {f"198.18.0.{n}": f"user{n}" for n in (3, 1, 8, 5)}


@pytest.mark.parametrize(
    "lines",
    [
        (said("passed bob"),),
        (said("from 198.18.0.1"), said("passed bob", 6)),
        (said("from 198.18.0.1", None), said("passed bob", None)),
        (said("from 198.18.0.1"), said("passed bob", host="other")),
        (said("passed bob"), said("from 198.18.0.1")),
        (said("from 198.18.0.1"), said("failed bob"), said("passed bob")),
        (said("from 198.18.0.1"), said("passed bob", time="08:31:01")),
        (said("from 198.18.0.1", time="08:31:01"), said("passed bob")),
        (said("from 198.18.0.1"), said("from 198.18.0.1.1"), said("passed bob")),
        (said("from 198.18.0.1"), said("from 192.0.2"), said("passed bob")),
        (said("from 198.18.0.1"), said("from 198.18.0.2", time="08:30:61"), said("passed bob")),
    ],
    ids=[
        *("no open", "another process", "no pid", "another host", "the other way round"),
        *("a failure between", "too late", "too early", "a second address that is none"),
        *("half an address", "a second stamp that is none"),
    ],
)
def test_what_does_not_belong_together_grants_nothing(lines: Iterable[bytes]) -> None:
    assert after(*lines) == {}


def test_a_pid_that_is_used_again_stands_for_its_latest_connection() -> None:
    first, second = said("from 198.18.0.1"), said("from 198.18.0.2")
    assert after(first, second, said("passed bob")) == {"198.18.0.2": "bob"}
    # One login uses its connection up: who comes later under this pid has none.
    lines = (first, said("passed bob"), said("passed eve"))
    assert after(*lines) == {"198.18.0.1": "bob"}


def test_where_lines_may_be_lost_nothing_is_joined_over_the_gap() -> None:
    for mode in MODES:
        watching = Watching(mode=mode)
        watching.feed(said("from 198.18.0.1"))
        watching.cuts.gap()
        watching.feed(said("passed bob"))
        assert watching.granted == {}
    loss = b"2026-11-22T08:30:00.000000+00:00 mail rsyslogd: 9 messages lost due to rate-limiting\n"
    watching = Watching(mode="off")
    watching.feed(said("from 198.18.0.1"), loss, said("passed bob"))
    assert watching.granted == {}
    watching.feed(said("from 198.18.0.1"), said("passed bob"))
    assert watching.granted == {"198.18.0.1": "bob"}


def test_a_gap_between_the_blocks_of_one_read_forgets_on_either_side() -> None:
    watching = Watching(NAMED)
    watching.feed(session("in bob 198.18.0.1 <s1>"))
    assert len(watching.chain.joins) == 1
    watching.cuts.gap()
    assert watching.chain.feed([], 0, watching.cuts, NOW, watching.changes).lines == 0
    assert len(watching.chain.joins) == 0


def test_a_suspect_line_is_joined_to_nothing() -> None:
    """After a cut, a client writes what it likes, under the pid of its own process or another."""
    for mode in MODES[:2]:
        cut = said("GARBAGE")
        for lines in (
            (cut, said("from 198.18.0.66"), said("x"), said("x"), said("passed bob")),
            (said("from 198.18.0.1"), cut, said("passed bob")),
            (said("from 198.18.0.1", 6), cut, said("passed bob", 6)),
            # It may have replaced a connection, so that one is not believed either.
            (said("from 198.18.0.1", 6), cut, said("from 198.18.0.66", 6), said("passed bob", 6)),
            (said("from 198.18.0.1", 6), cut, said("failed x", 6), said("x"), said("passed b", 6)),
        ):
            assert after(*lines, mode=mode) == {}, lines
    # What another process began before the cut and goes on with long after it is genuine.
    genuine = (
        *(said("from 198.18.0.1", 6), said("GARBAGE"), said("x"), said("x", time="08:30:01")),
        *(said("x", time="08:30:05"), said("passed bob", 6, time="08:30:09")),
    )
    assert after(*genuine) == {"198.18.0.1": "bob"}


def test_a_message_that_was_cut_may_have_been_the_failure() -> None:
    cut = said("failed " + "A" * 300)
    later = (said("x", time="08:30:05"), said("x", time="08:30:09"))
    lines = (said("from 198.18.0.1"), cut, *later, said("passed bob", time="08:30:19"))
    assert after(*lines) == {}
    assert after(*lines, mode="off") == {}


def test_a_suspect_login_that_is_whole_is_counted_as_suspect() -> None:
    cut = "tag named\n    cut 90 then 9 bytes or 1s"
    (fmt,) = load_text("f.pattern", BY_SESSION.replace("tag named", cut))
    watching = Watching(fmt)
    watching.feed(session("A" * 99), session("in eve 198.18.0.66 <s1>"), session("gone <s1>"))
    assert watching.granted == {}
    assert [(why, event.user) for event, why in watching.told] == [("suspect", b"eve")]
    assert watching.chain.counts.suspect == 1


# Sessions


def test_a_session_ends_by_its_name() -> None:
    watching = Watching(NAMED)
    watching.feed(
        session("in bob 198.18.0.1 <s1>", time="08:00:00"),
        session("in bob 198.18.0.1 <s2>", time="08:10:00"),
        session("gone <s1>", time="08:20:00"),
    )
    (first, second), holds = (
        [event for event, _ in watching.told[:2]],
        watching.changes.sessions[b"198.18.0.1"],
    )
    assert (first.port, second.port) == (b"#s1", b"#s2")
    assert {key.port: hold is not None for key, hold in holds.items()} == {
        b"#s1": False,
        b"#s2": True,
    }
    end = watching.told[2][0]
    assert isinstance(end, End)
    assert (end.user, end.address, end.seconds) == (b"bob", b"198.18.0.1", 1200)


@pytest.mark.parametrize(
    "text", ["gone <s2>", "out eve <s1>", "out bob <s>", "idle bob <s1 7", "gone <s1> "]
)
def test_what_ends_another_session_ends_none(text: str) -> None:
    watching = Watching(NAMED)
    watching.feed(session("in bob 198.18.0.1 <s1>"), session(text))
    assert [type(event) for event, _ in watching.told] == [Login]


def test_an_end_says_once_that_a_session_is_over() -> None:
    watching = Watching(NAMED)
    watching.feed(session("in bob 198.18.0.1 <s1>"), session("gone <s1>"), session("gone <s1>"))
    assert [type(event) for event, _ in watching.told] == [Login, End]


def test_a_login_whose_address_is_none_is_a_near_miss_and_joins_nothing() -> None:
    watching = Watching(NAMED)
    watching.feed(
        session("in bob 198.18.0.1 <s1>"), session("in bob 198.18.0 <s1>"), session("gone <s1>")
    )
    assert watching.chain.counts.near == 1
    assert [type(event) for event, _ in watching.told] == [Login]


# Bounds


def part(kind: str, key: int, *, time: float = NOW) -> Part:
    name = f"198.18.{key // 256}.{key % 256}".encode()
    return Part(
        kind=kind, time=time, ahead=0.0, address=name if kind == "open" else b"",
        user=b"" if kind == "open" else b"bob", port=b"", seconds=None, key=b"%d" % key,
        service=b"two", format="two", host=b"mail", flag=False, held=False, within=60.0,
        kept=False, suspect=False, offset=0,
    )  # fmt: skip


def test_only_the_latest_connections_are_kept() -> None:
    joins, changes = Joins(1, most=100), Changes()
    joins.take((part("open", key) for key in range(1000)), changes, NOW)
    assert len(joins) == 100
    assert sum(kept is not None for kept in changes.joins.values()) == 100
    events, _ = joins.take([part("login", 1), part("login", 999)])
    assert [event.address for event in events] == [b"198.18.3.231"]
    assert MOST < 1 << 20


# The map


def test_what_waits_is_in_the_map_until_it_is_joined(tmp_path: Path) -> None:
    grants = Map(tmp_path, "daemon")
    watching = Watching(source=7)
    watching.feed(said("from 198.18.0.1", 1), said("from 198.18.0.2", 2))
    grants.commit(watching.changes)
    grants.close()

    grants = Map(tmp_path, "daemon")
    assert grants.joins(8) == {}
    again = Watching(source=7)
    again.chain.joins.load(grants.joins(7))
    again.feed(said("passed bob", 2))
    assert again.granted == {"198.18.0.2": "bob"}
    grants.commit(again.changes)
    assert [key.key for key in grants.joins(7)] == [b"1"]
    grants.sweep(NOW + HOUR)
    assert grants.joins(7) == {}
    grants.close()


def test_a_batch_that_could_not_be_written_loses_no_half(tmp_path: Path) -> None:
    watching = Watching(source=7)
    watching.feed(said("from 198.18.0.1", 1), said("from 198.18.0.2", 2))
    failed, watching.changes = watching.changes, Changes()
    watching.feed(said("passed bob", 2), said("from 198.18.0.3", 3))
    failed.append(watching.changes)
    grants = Map(tmp_path, "daemon")
    grants.commit(failed)
    assert sorted(key.key for key in grants.joins(7)) == [b"1", b"3"]
    grants.close()


# Any cutting of the log into blocks, files and segments gives the same


def lines_of_processes() -> st.SearchStrategy[list[bytes]]:
    texts = st.sampled_from(
        [
            *("from 198.18.0.1", "from 198.18.0.2", "from 2001:db8::1", "from 198.18.0"),
            *("passed bob", "passed eve", "failed bob", "GARBAGE", "x", "failed " + "A" * 300),
        ]
    )
    times = st.integers(0, 40).map(lambda second: f"08:30:{second:02}")
    return st.lists(
        st.tuples(texts, st.integers(1, 3), times).map(lambda one: said(*one[:2], time=one[2])),
        max_size=40,
    )


@settings(deadline=None, max_examples=200)
@given(lines_of_processes(), st.sets(st.integers(0, 40)), st.sampled_from(MODES))
def test_any_blocks_give_the_same(lines: list[bytes], places: set[int], mode: Mode) -> None:
    whole, split = Watching(mode=mode), Watching(mode=mode)
    whole.feed(*lines)
    borders = sorted({0, *(place for place in places if place < len(lines)), len(lines)})
    for first, last in pairwise(borders):
        split.feed(*lines[first:last])
    assert [(one[:-1], why) for one, why in split.told] == [
        (one[:-1], why) for one, why in whole.told
    ]
    assert split.changes.grants.keys() == whole.changes.grants.keys()


@settings(deadline=None, max_examples=300)
@given(lines=lines_of_processes())
def test_nobody_is_granted_but_from_the_latest_connection_of_his_process(
    lines: list[bytes],
) -> None:
    """By the plainest reading of the lines, whatever the cut rules leave over."""
    expected = set()
    opened: dict[bytes, bytes | None] = {}
    for line in lines:
        head, _, text = line.rstrip(b"\n").partition(b": ")
        pid = head.rpartition(b"[")[2]
        if text.startswith(b"from "):
            opened[pid] = text[5:] if text != b"from 198.18.0" else None
        elif text.startswith((b"failed", b"GARBAGE")):
            opened.pop(pid, None)
        elif text.startswith(b"passed ") and (address := opened.pop(pid, None)):
            expected.add(address.decode())
    for mode in MODES:
        assert set(after(*lines, mode=mode)) <= expected
    assert set(after(*lines, mode="off")) == expected


def replayed(paths: Iterable[Path], fmt: Format, processes: int) -> tuple[set[str], int, int]:
    chain = Chain(Scanner((fmt,), Clock(UTC)), policy())
    with opened_map(None) as grants:
        names = [str(path) for path in paths]
        done = replay(names, chain, Cuts(), grants, now=NOW, until=None, processes=processes)
        judged = done.counts.judged
        return {one.address.decode() for one in granted(grants, NOW)}, judged.logins, judged.ends


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("forged", [False, True])
def test_lines_are_joined_over_parts_and_rotated_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, *, forged: bool
) -> None:
    monkeypatch.setattr(replaying, "_LARGE", 0)
    monkeypatch.setattr(segments, "SMALLEST", 700)
    opens = [said(f"from 198.18.0.{n}", n) for n in range(1, 200)]
    logins = [said(f"passed user{n}", n) for n in range(1, 200, 2)]
    expected = {f"198.18.0.{n}" for n in range(1, 200, 2)}
    middle = [said("GARBAGE", 5)] if forged else []
    if forged:
        # Its own connection is not believed any more, nor are the next lines.
        expected -= {"198.18.0.5", "198.18.0.1", "198.18.0.3"}
        logins = [*logins[:2], *(said("x", 9999, time="08:30:05") for _ in range(9)), *logins[2:]]
    lines = [*opens, *middle, *logins]
    for place in (0, 150, 250):
        files = [tmp_path / "1", tmp_path / "2"]
        files[0].write_bytes(b"".join(lines[:place]))
        files[1].write_bytes(b"".join(lines[place:]))
        found, count, _ = replayed(files if place else files[1:], TWO, processes)
        assert (found, count) == (expected, len(expected))


@pytest.mark.parametrize("processes", [1, 2])
def test_sessions_are_joined_over_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(replaying, "_LARGE", 0)
    monkeypatch.setattr(segments, "SMALLEST", 700)
    lines = [session(f"in bob 198.18.0.{n} <s{n}>") for n in range(100)]
    lines += [session(f"gone <s{n}>") for n in range(0, 100, 2)]
    path = tmp_path / "log"
    path.write_bytes(b"".join(lines))
    assert replayed([path], NAMED, processes)[1:] == (100, 50)
