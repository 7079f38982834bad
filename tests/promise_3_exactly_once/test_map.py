"""The map keeps what was committed, all of it or nothing, and forgets exactly what expired."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch.errors import MapError
from pbs_watch.grants.changes import Changes, Hold, SessionKey, grant
from pbs_watch.grants.environment import Mode
from pbs_watch.grants.listing import Listed, granted
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.store import SWEEP_ROWS, Map
from pbs_watch.log.position import Position, SourceState

NOW = 1_795_337_040.0
A, B = b"198.18.0.1", b"2001:db8::1"
BOB = SessionKey(b"imapd", b"bob", b"4242")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "map"


@pytest.fixture
def grants(path: Path) -> Iterator[Map]:
    opened = Map(path, "scratch")
    yield opened
    opened.close()


def login(
    changes: Changes,
    address: bytes = A,
    expires: float = NOW + 10,
    user: bytes = b"bob",
    at: float = NOW,
) -> Changes:
    changes.login(address, grant(expires, at, user, b"pop3d"))
    return changes


def rows(path: Path) -> dict[str, int]:
    """How many rows each database of a closed map has."""
    env = lmdb.open(str(path), max_dbs=16, readonly=True, lock=False)
    with env.begin() as txn:
        names = list(txn.cursor().iternext(values=False))
    counts = {}
    for name in names:
        database = env.open_db(name, create=False)
        with env.begin(db=database) as txn:
            counts[name.decode()] = txn.stat(database)["entries"]
    env.close()
    return counts


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(directory)): one.read_bytes()
        for one in sorted(directory.rglob("*"))
        if one.is_file()
    }


def test_what_is_committed_is_read_back(grants: Map, path: Path) -> None:
    changes = login(login(Changes()), B, NOW + 20, b"eve\xff")
    changes.session(A, BOB, Hold(NOW + 99, NOW))
    state = SourceState(
        (Position(1, 2, 3, b"\x00\xffanchor\n", skipping=True),), {"gap": True, "doubts": []}
    )
    changes.sources["/var/log/mail\udcff.log"] = state
    grants.commit(changes)
    grants.close()
    again = Map(path, "read")
    assert again.sources() == {"/var/log/mail\udcff.log": state}
    assert granted(again, NOW) == [
        Listed(A, b"bob", b"pop3d", NOW, NOW + 10),
        Listed(B, b"eve\xff", b"pop3d", NOW, NOW + 20),
    ]
    again.close()


def test_an_address_is_allowed_until_it_expires_without_any_sweep(grants: Map) -> None:
    grants.commit(login(Changes()))
    assert grants.allows(A, NOW + 9.999)
    assert not grants.allows(A, NOW + 10)
    assert not grants.allows(b"198.18.0.10", NOW)
    assert not grants.allows(b"198.18.0.", NOW)
    assert granted(grants, NOW + 10) == []


def test_a_session_keeps_an_expired_grant_until_it_ends(grants: Map) -> None:
    changes = login(Changes())
    changes.session(A, BOB, Hold(NOW + 100, NOW))
    grants.commit(changes)
    assert grants.allows(A, NOW + 99)
    pending = Pending()
    pending.making.session(A, BOB, None)
    assert not grants.allows(A, NOW + 99, pending)
    assert not grants.allows(A, NOW + 100)
    ended = Changes()
    ended.session(A, BOB, None)
    grants.commit(ended)
    assert not grants.allows(A, NOW + 11)


def test_a_session_of_a_longer_address_holds_no_other(grants: Map) -> None:
    changes = login(login(Changes()), A + b"0")
    changes.session(A + b"0", BOB, Hold(NOW + 100, NOW))
    grants.commit(changes)
    assert not grants.allows(A, NOW + 50)


@given(expiries=st.lists(st.integers(1, 1000), min_size=1, max_size=8), batches=st.booleans())
@settings(max_examples=20, deadline=None)
def test_expires_only_grows(expiries: list[int], batches: bool) -> None:  # noqa: FBT001
    with tempfile.TemporaryDirectory() as directory:
        grants = Map(Path(directory), "scratch")
        changes = Changes()
        for expires in expiries:
            login(changes, expires=NOW + expires, at=NOW + expires - 5)
            if batches:
                grants.commit(changes)
                changes = Changes()
        grants.commit(changes)
        (found,) = granted(grants, NOW)
        grants.close()
    assert (found.expires, found.login) == (NOW + max(expiries), NOW + max(expiries) - 5)


# Sweeping


def sweep(grants: Map, now: float) -> None:
    while grants.sweep(now).looked >= SWEEP_ROWS:
        pass


def test_a_sweep_removes_what_expired_and_nothing_else(grants: Map, path: Path) -> None:
    grants.commit(login(login(Changes(), A, NOW + 10), B, NOW + 20))
    assert grants.sweep(NOW).looked == 0
    sweep(grants, NOW + 10)
    assert [row.address for row in granted(grants, NOW)] == [B]
    sweep(grants, NOW + 20)
    grants.close()
    counted = rows(path)
    assert counted.pop("meta") == 1
    assert set(counted.values()) == {0}


def test_a_renewed_login_outlives_its_first_expiry(grants: Map) -> None:
    grants.commit(login(Changes(), A, NOW + 10))
    grants.commit(login(Changes(), A, NOW + 30))
    sweep(grants, NOW + 20)
    assert grants.allows(A, NOW + 29)
    sweep(grants, NOW + 30)
    assert granted(grants, NOW) == []


def test_a_held_grant_is_swept_with_its_session(grants: Map, path: Path) -> None:
    changes = login(Changes(), A, NOW + 10)
    changes.session(A, BOB, Hold(NOW + 100, NOW))
    grants.commit(changes)
    sweep(grants, NOW + 50)
    assert grants.allows(A, NOW + 99)
    ended = Changes()
    ended.session(A, BOB, None)
    grants.commit(ended)
    sweep(grants, NOW + 60)
    assert granted(grants, NOW) == []
    # The index is lazy: its row for the session goes when the session would have expired.
    sweep(grants, NOW + 100)
    grants.close()
    assert sum(rows(path).values()) == 1


def test_many_expired_rows_are_swept_in_short_transactions(grants: Map, path: Path) -> None:
    changes = Changes()
    for number in range(SWEEP_ROWS + 5):
        login(changes, b"10.%d.%d.1" % divmod(number, 256))
    grants.commit(changes)
    assert grants.sweep(NOW + 10).looked == SWEEP_ROWS
    assert grants.sweep(NOW + 10).looked == 5
    assert grants.sweep(NOW + 10).looked == 0
    grants.close()
    assert sum(rows(path).values()) == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["login", "login", "open", "open", "end", "sweep"]),
        st.sampled_from([A, A + b"0", B]),
        st.sampled_from([b"bob", b"eve"]),
        st.integers(1, 40),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, batch=st.integers(1, 4))
def test_any_history_allows_and_sweeps_as_a_plain_model(
    steps: list[tuple[str, bytes, bytes, int]], batch: int
) -> None:
    """Against two dictionaries; at the end no row is left in any database."""
    expiry: dict[bytes, float] = {}
    sessions: dict[tuple[bytes, bytes], float] = {}
    with tempfile.TemporaryDirectory() as directory:
        grants = Map(Path(directory), "scratch")
        changes = Changes()
        now = NOW
        for count, (what, address, user, seconds) in enumerate(steps):
            now += 3
            key = SessionKey(b"imapd", user, b"1")
            if what == "sweep":
                sweep(grants, now)
            elif what == "end":
                sessions.pop((address, user), None)
                changes.session(address, key, None)
            else:
                expiry[address] = max(expiry.get(address, 0), now + seconds)
                login(changes, address, now + seconds, user, now)
                if what == "open":
                    sessions[address, user] = now + 2 * seconds
                    changes.session(address, key, Hold(now + 2 * seconds, now))
            if count % batch == 0 or what == "sweep":
                grants.commit(changes)
                changes = Changes()
        grants.commit(changes)
        for later in (0, 5, 20, 45, 60):
            for swept in (False, True):
                if swept:
                    sweep(grants, now + later)
                for address in (A, A + b"0", B):
                    held = any(
                        until > now + later
                        for (who, _), until in sessions.items()
                        if who == address
                    )
                    allowed = held or expiry.get(address, 0) > now + later
                    assert grants.allows(address, now + later) == allowed
        sweep(grants, now + 100)
        grants.close()
        assert sum(rows(Path(directory)).values()) == 1


# What is not a map


def missing(path: Path) -> None:
    assert not path.exists()


def empty_directory(path: Path) -> None:
    path.mkdir()


def a_file(path: Path) -> None:
    path.write_text("not a map")


def garbage(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(bytes(range(256)) * 64)


def empty_data(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"")


def data_is_a_directory(path: Path) -> None:
    (path / "data.mdb").mkdir(parents=True)


def _environment(path: Path, database: bytes, key: bytes, value: bytes) -> None:
    path.mkdir()
    env = lmdb.open(str(path), max_dbs=4)
    opened = env.open_db(database) if database else None
    with env.begin(write=True, db=opened) as txn:
        txn.put(key, value)
    env.close()


def other_schema(path: Path) -> None:
    _environment(path, b"meta", b"schema", b"999")


def no_schema(path: Path) -> None:
    _environment(path, b"meta", b"other", b"1")


def other_program(path: Path) -> None:
    _environment(path, b"mail", b"key", b"value")


def other_program_without_databases(path: Path) -> None:
    _environment(path, b"", b"meta", b"value")


def name_too_long(path: Path) -> None:
    assert len(path.name) > 255  # nothing can be there


UNUSABLE: dict[Callable[[Path], None], tuple[Mode, ...]] = {
    missing: ("read", "write"),
    empty_directory: ("read", "write"),
    a_file: ("read", "write", "daemon"),
    garbage: ("read", "write", "daemon"),
    empty_data: ("read", "write"),
    data_is_a_directory: ("read", "write", "daemon"),
    other_schema: ("read", "write", "daemon"),
    no_schema: ("read", "write", "daemon"),
    other_program: ("read", "write", "daemon"),
    other_program_without_databases: ("read", "write", "daemon"),
    name_too_long: ("read", "write", "daemon"),
}


@pytest.mark.parametrize(
    ("made", "mode"), [(made, mode) for made, modes in UNUSABLE.items() for mode in modes]
)
def test_what_is_not_a_map_gives_one_line_and_is_not_changed(
    made: Callable[[Path], None], mode: Mode, tmp_path: Path
) -> None:
    path = tmp_path / ("m" * 300 if made is name_too_long else "map")
    made(path)
    before = files(tmp_path)
    with pytest.raises(MapError) as caught:
        Map(path, mode).close()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    # LMDB's lock file says nothing.
    after = {
        name: content for name, content in files(tmp_path).items() if not name.endswith("lock.mdb")
    }
    assert after == {
        name: content for name, content in before.items() if not name.endswith("lock.mdb")
    }


def test_a_map_that_may_only_be_read_gives_one_line_and_is_not_changed(path: Path) -> None:
    made = Map(path, "daemon")
    made.commit(login(Changes()))
    made.close()
    before = files(path)["data.mdb"]
    reader = Map(path, "read")
    for write in (lambda: reader.commit(login(Changes(), B)), lambda: reader.sweep(NOW + 99)):
        with pytest.raises(MapError, match="may not") as caught:
            write()
        assert "\n" not in str(caught.value)
    assert reader.allows(A, NOW)
    assert not reader.allows(B, NOW)
    reader.close()
    assert files(path)["data.mdb"] == before


@pytest.mark.parametrize("value", [b"", b"short", bytes(17), b"\xff" * 40])
def test_a_damaged_grant_is_an_error_not_a_no(path: Path, value: bytes) -> None:
    Map(path, "daemon").close()
    env = lmdb.open(str(path), max_dbs=16)
    with env.begin(write=True, db=env.open_db(b"grants")) as txn:
        txn.put(A, value)
    env.close()
    damaged = Map(path, "read")
    try:
        for read in (lambda: damaged.allows(A, NOW), lambda: granted(damaged, NOW)):
            with pytest.raises(MapError):
                read()
    finally:
        damaged.close()


def test_a_damaged_position_is_an_error(path: Path) -> None:
    Map(path, "daemon").close()
    env = lmdb.open(str(path), max_dbs=16)
    with env.begin(write=True, db=env.open_db(b"sources")) as txn:
        txn.put(b"x", b'{"name": 1}')
    env.close()
    damaged = Map(path, "read")
    with pytest.raises(MapError, match="position"):
        damaged.sources()
    damaged.close()


def test_a_commit_that_fails_changes_nothing(grants: Map) -> None:
    """Here a row that LMDB cannot take (a key of more than 511 bytes), among good ones."""
    good = login(Changes())
    grants.commit(good)
    bad = login(login(Changes(), B), A, NOW + 99, b"u" * 600)
    bad.sources["/log"] = SourceState((), {})
    with pytest.raises(MapError):
        grants.commit(bad)
    assert [row.address for row in granted(grants, NOW)] == [A]
    assert not grants.allows(A, NOW + 50)
    assert grants.sources() == {}


# Pending: what is not yet committed


def position(offset: int) -> SourceState:
    return SourceState((Position(1, 1, offset, b"\n"),), {})


def test_a_batch_that_failed_is_merged_and_nothing_of_it_is_lost(grants: Map) -> None:
    pending = Pending()
    login(pending.making, A, NOW + 10)
    pending.making.session(A, BOB, Hold(NOW + 100, NOW))
    pending.making.sources["/log"] = position(10)
    handed_over = pending.hand_over()
    before = (dict(handed_over.logins), dict(handed_over.sources))
    login(pending.making, B, NOW + 20)
    login(pending.making, A, NOW + 5, b"eve", NOW - 5)
    pending.making.session(A, BOB, None)
    pending.making.sources["/log"] = position(20)
    for address in (A, B):
        assert pending.allows(address, NOW + 1)
    # Untouched while it is being committed.
    assert (dict(handed_over.logins), dict(handed_over.sources)) == before
    pending.failed()
    assert not pending.committing
    for address in (A, B):
        assert pending.allows(address, NOW + 1)
    grants.commit(pending.hand_over())
    pending.committed()
    assert not pending.making
    assert not pending.allows(A, NOW)
    found = {row.address: row for row in granted(grants, NOW)}
    assert (found[A].expires, found[A].user) == (NOW + 10, b"bob")
    assert found[B].expires == NOW + 20
    assert grants.sources() == {"/log": position(20)}
    assert not grants.allows(A, NOW + 50)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.sampled_from([A, B]), st.sampled_from([b"bob", b"eve"]), st.integers(1, 50)),
        min_size=1,
        max_size=20,
    ),
    fails=st.lists(st.booleans(), min_size=1),
)
def test_any_failures_of_commits_end_in_the_same_map(
    lines: list[tuple[bytes, bytes, int]], fails: list[bool]
) -> None:
    at_once = Changes()
    pending = Pending()
    committed = Changes()
    failures = itertools.cycle(fails)
    for address, user, seconds in lines:
        for into in (at_once, pending.making):
            login(into, address, NOW + seconds, user, NOW + seconds)
            if seconds % 3:
                into.session(address, BOB, Hold(NOW + seconds, NOW) if seconds % 2 else None)
        if pending.committing:
            if next(failures):
                pending.failed()
            else:
                pending.committed()
        else:
            batch = pending.hand_over()
            if not next(failures):
                committed.append(batch)
            else:
                pending.failed()
                continue
            pending.committed()
    committed.append(pending.making)
    assert committed == at_once


def test_the_end_of_a_session_counts_while_its_beginning_is_being_committed() -> None:
    pending = Pending()
    login(pending.making, A, NOW + 10)
    pending.making.session(A, BOB, Hold(NOW + 100, NOW))
    pending.hand_over()
    assert pending.allows(A, NOW + 50)
    pending.making.session(A, BOB, None)
    assert not pending.allows(A, NOW + 50)


def test_two_batches_are_never_committed_at_once() -> None:
    pending = Pending()
    pending.hand_over()
    with pytest.raises(RuntimeError):
        pending.hand_over()


def test_a_map_of_many_grants_is_sparse(grants: Map, path: Path) -> None:
    """The virtual size costs no disk."""
    grants.commit(login(Changes()))
    assert (path / "data.mdb").stat().st_blocks * 512 < 1 << 20
