"""Whatever a client makes the log say, one line costs a bounded amount of work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch.config import Config
from pbs_watch.grants.batch import REFUSALS_KEPT
from pbs_watch.grants.changes import _REFUSALS, Changes, Refusal, RefusalKey, grant
from pbs_watch.grants.standing import Known
from pbs_watch.grants.store import LOOKED_AT, Map
from pbs_watch.kernel import Connections
from pbs_watch.notices import Notices
from pbs_watch.service import Service
from pbs_watch.witness import Witness

NOW = 1_795_337_040.0
HOUR = 3600.0


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[Map]:
    opened = Map(tmp_path / "map", "daemon")
    yield opened
    opened.close()


def crowd(users: int) -> Changes:
    """One address with many users, and one user with as many addresses."""
    changes = Changes()
    for number in range(users):
        changes.login(b"198.18.0.1", grant(NOW + HOUR, NOW, b"user%d" % number, b"pop3d"))
        address = b"198.19.%d.%d" % divmod(number, 256)
        changes.login(address, grant(NOW + HOUR, NOW, b"bob", b"pop3d"))
    return changes


def test_limits_look_at_so_many_logins_and_no_more(grants: Map) -> None:
    """A hundred questions take less than a hundredth of what reading all rows would."""
    grants.commit(crowd(20_000))
    pending = crowd(20_000)
    known = Known(grants, lambda: [pending])
    pending.crowd()
    began = time.process_time()
    for _ in range(100):
        assert known.crowded(b"198.18.0.1", 1000, NOW)
        assert known.spread(b"bob", 1000, NOW)
    assert time.process_time() - began < 1.0
    assert len(grants.users(b"198.18.0.1", NOW, 30_000)) == LOOKED_AT


def test_what_nobody_may_be_told_of_is_not_collected_without_end(grants: Map) -> None:
    """Half of the room is kept for refusals that no forger makes."""
    refusal = Refusal(NOW, NOW, 1, b"pop3d", 0, 0, 0)
    changes = Changes()
    for number in range(_REFUSALS):
        key = RefusalKey(b"198.18.%d.%d" % divmod(number, 256), "suspect", b"x")
        changes.refuse(key, refusal)
    assert len(changes.refusals) == _REFUSALS // 2
    changes.refuse(RefusalKey(b"198.18.0.1", "never", b"bob"), refusal)
    assert len(changes.refusals) == _REFUSALS // 2 + 1
    total = 0
    for batch in range(REFUSALS_KEPT // _REFUSALS + 2):
        changes = Changes()
        for number in range(_REFUSALS // 2):
            address = b"10.%d.%d.%d" % (batch, *divmod(number, 256))
            changes.refuse(RefusalKey(address, "suspect", b"x"), refusal)
        grants.commit(changes)
        total += len(changes.refusals)
    assert total > REFUSALS_KEPT // 2
    with grants.reading() as tables:
        assert tables.count(b"refusals") == REFUSALS_KEPT // 2
    changes = Changes()
    changes.refuse(RefusalKey(b"198.18.0.1", "never", b"bob"), refusal)
    grants.commit(changes)
    with grants.reading() as tables:
        assert tables.count(b"refusals") == REFUSALS_KEPT // 2 + 1


def test_a_login_without_a_port_is_looked_for_at_once() -> None:
    """Courier before 4.2 logs none: 24,000 connections must not be gone through for each."""
    known = frozenset((b"198.18.%d.%d" % divmod(n, 256), b"1") for n in range(24_000))

    class Full:
        def look(self) -> Connections:
            return Connections(known, known)

    witness = Witness(Full(), Notices(), believed=True)  # type: ignore[arg-type]
    began = time.process_time()
    for number in range(2000):
        assert not witness.connected(b"203.0.113.%d" % (number % 250), b"")
    assert witness.connected(b"198.18.0.1", b"")
    assert time.process_time() - began < 0.5


def test_no_descriptor_left_for_the_hosts_addresses_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(
        log=(str(tmp_path / "mail.log"),), map=tmp_path / "map", tcp_table=("127.0.0.1:0",),
        never=("own",),
    )  # fmt: skip
    service = Service(config, [])
    before = service._chain.policy

    def full(_config: Config) -> None:
        raise OSError(24, "Too many open files", "/proc/net/fib_trie")

    monkeypatch.setattr(Config, "policy", full)
    service._tidying.refresh_policy()
    assert service._chain.policy is before
    service.close()
