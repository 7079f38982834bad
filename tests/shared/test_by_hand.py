"""What commands say of other hosts is so: who is told, and what others granted."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.daemon import OK, command, until
from tests.engines import Redis
from tests.hosts import PATIENT, Host
from tests.shared.test_several_hosts import url

Start = Callable[..., Host]


def test_when_the_others_are_told_is_what_the_daemon_says(own_redis: Redis, host: Start) -> None:
    one = host("a", url(own_redis), *PATIENT)
    one.is_in_step()
    told = one.by_hand("allow", "198.18.0.9").lines[0]
    assert told.endswith("; the other hosts are told within about a second")
    told = one.by_hand("revoke", "198.18.0.8").lines[0]
    assert ": nothing to end was known here; the other hosts are told within" in told
    own_redis.kill()
    until(lambda: not one.state()["reachable"], "the engine is away")
    told = one.by_hand("allow", "198.18.0.9").lines[0]
    assert told.endswith("; the engine is away: the other hosts are told when it is back")
    one.daemon.end()
    told = one.by_hand("block", "198.18.0.7", "--for", "1h").lines[0]
    assert told.endswith("; no daemon runs here: the other hosts are told when it does")
    ended = command(
        "forget", "bob", "--map", one.map, "--config", one.home / "empty.toml"
    )  # who is not known here
    assert ended.lines[1] == (
        "no daemon runs here: the engine of the shared grants is told to forget when it does"
    )


def test_why_asks_elsewhere_what_is_not_known_here(own_redis: Redis, host: Start) -> None:
    there, here = (host(name, url(own_redis), *PATIENT) for name in ("a", "b"))
    here.settings(f'shared = "{url(own_redis)}"')
    there.logs_in("198.18.0.1")
    assert there.ask("198.18.0.1") == OK
    there.is_in_step()

    def why(address: str, *words: str) -> tuple[int, str]:
        config = here.home / "empty.toml"
        ended = command("why", address, *words, "--map", here.map, "--config", config)
        return ended.status, " ".join(ended.out.decode().split())

    status, told = why("198.18.0.1")
    assert status == 0
    assert told.startswith("198.18.0.1 may relay until ")
    assert ", granted by another host Nothing is known here: " in told
    assert f"Elsewhere granted by another host ({url(own_redis)}) until " in told
    assert "by a login of bob (" in told
    assert command("get", "198.18.0.1", "--map", here.map).status == 1  # looked at, not kept
    found = json.loads(why("198.18.0.1", "--json")[1])
    assert found["may"] is found["elsewhere"]["granted"] is True
    assert why("198.18.0.2")[0] == 1
    assert f"Elsewhere not known there ({url(own_redis)})" in why("198.18.0.2")[1]
    here.settings(f'shared = "{url(own_redis)}"', 'never = ["198.18.0.0/24"]')
    status, told = why("198.18.0.1")
    assert status == 1
    assert "granted there, but orders or settings of this host are against it" in told
    here.settings(f'shared = "{url(own_redis)}"')
    own_redis.kill()
    status, told = why("198.18.0.1")
    assert status == 1
    assert "Elsewhere the engine cannot be asked (" in told
