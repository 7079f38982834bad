"""A daemon finds its place in logs that were compressed while it was down."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.daemon import NO, OK, TROUBLE, Daemon, Log, addresses, login, until
from tests.promise_3_exactly_once.history import COMPRESSED, compress

Start = Callable[..., Daemon]


@pytest.mark.parametrize("ending", sorted(COMPRESSED))
def test_a_daemon_finds_its_place_in_a_compressed_file(start: Start, log: Log, ending: str) -> None:
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    daemon.kill()
    for number in range(2, 5):
        log.write(login(f"198.18.0.{number}"))
        log.rename()
        compress(log.path.with_name("mail.log.1"), ending)
        log.path.with_name(f"mail.log.1{ending}").rename(
            log.path.with_name(f"mail.log.{6 - number}{ending}")
        )
    log.write(login("198.18.0.5"))
    daemon.start()
    until(lambda: daemon.ask("198.18.0.99") == NO, "all is read")
    assert [daemon.ask(f"198.18.0.{number}") for number in range(1, 6)] == [OK] * 5
    assert "not found again" not in daemon.said
    assert daemon.said.count("granted: 198.18.0.1 ") == 0


def test_lookups_are_answered_while_a_large_compressed_file_is_searched(
    start: Start, log: Log
) -> None:
    """Known ones as always; of others we cannot tell yet, and never say "no"."""
    daemon = start()
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    daemon.kill()
    filler = b"".join(login("203.0.113.1") for _ in range(1000))
    for _ in range(100):
        log.write(filler)
    late = addresses(10, start=500)
    log.write(*(login(address) for address in late))
    log.rename()
    # The place is searched for in the newest first, and is in the one before it.
    log.write(*[filler] * 100)
    log.rename()
    compress(log.path.with_name("mail.log.2"), ".xz")
    compress(log.path.with_name("mail.log.1"), ".xz")
    log.write(login("198.18.0.2"))
    daemon.start()
    heard, slowest = set(), 0.0
    while (answer := daemon.ask(late[-1])) != OK:
        heard.add(answer)
        began = time.monotonic()
        assert daemon.ask("198.18.0.1") == OK
        slowest = max(slowest, time.monotonic() - began)
    assert heard == {TROUBLE}
    assert slowest < 0.5
    until(lambda: daemon.ask("203.0.113.2") == NO, "all is read")
    assert {daemon.ask(address) for address in (*late, "198.18.0.2")} == {OK}
