"""Hosts that share their grants: each a daemon with a log and a map of its own."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.daemon import NO, OK, Daemon, Ended, Log, command, login, until

PATIENT = ("--shared-deadline", "400ms")
"""For what is to be right on a machine that stops processes for a tenth of a second, as those do on
which tests run; how fast it is on another one stands in docs/shared.rst."""

AT_ONCE = ("--shared-deadline", "400ms", "--shared-linger", "0s")
"""For a host that is asked for what was told long ago."""


class Host:
    """A host called ``name`` that shares through ``url``; empty: as its settings' file says."""

    def __init__(self, home: Path, name: str, url: str, *words: str | Path) -> None:
        self.home = home
        self.url = url
        self.log = Log(home / "mail.log")
        said = ("--shared", url) if url else ()
        self.daemon = Daemon(home, *said, "--shared-host", name, *words)
        self.map = self.daemon.map

    def ask(self, address: str) -> bytes:
        return self.daemon.ask(address)

    def settings(self, *lines: str) -> None:
        """Writes its settings' file, which a start or a reload reads."""
        (self.home / "empty.toml").write_text("\n".join(lines) + "\n")

    def logs_in(self, *addresses: str, user: str = "bob") -> None:
        """The log tells of logins."""
        self.log.write(*(login(address, user=user) for address in addresses))

    def by_hand(self, *words: str) -> Ended:
        """A command on this host's map."""
        ended = command(*words, "--map", self.map, "--config", self.home / "empty.toml")
        assert ended.status == 0, ended
        return ended

    def state_or_none(self) -> object:
        """What it tells of sharing, nothing where it does not share."""
        return json.loads(self.by_hand("status", "--json").out)["shared"]

    def state(self) -> dict[str, Any]:
        """What the daemon tells of sharing."""
        shared = self.state_or_none()
        assert isinstance(shared, dict)
        return shared

    def is_in_step(self) -> None:
        """Waits until the engine has all that this host has to tell."""
        states: list[dict[str, Any]] = []

        def told() -> bool:
            states[:] = [self.state()]
            return states[0]["waiting"] == 0 and bool(states[0]["reachable"])

        try:
            until(told, "all is told")
        except AssertionError:
            raise AssertionError(f"{states}\n{self.daemon.said[-2000:]}") from None

    def knows(self, address: str) -> bool:
        return self.ask(address) == OK

    def knows_not(self, address: str) -> bool:
        return self.ask(address) == NO

    def end(self) -> None:
        self.daemon.end()
        self.log.close()


def next_replies(first: Host, second: Host, found: list[str], clients: int) -> Counter[bytes]:
    """What ``second`` says of addresses right after their logins on ``first``, by many clients."""

    def client(some: list[str]) -> Counter[bytes]:
        connection = second.daemon.connect()
        replies: Counter[bytes] = Counter()
        for address in some:
            first.logs_in(address)
            replies[connection.ask(address)] += 1
        return replies

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(client, [found[n::clients] for n in range(clients)]), Counter())


def listed(url: str, *words: str | Path) -> dict[str, dict[str, Any]]:
    """What the engine keeps, by address."""
    ended = command("shared", "list", "--json", "--shared", url, "--config", "/dev/null", *words)
    assert ended.status == 0, ended
    return {row["address"]: row for row in json.loads(ended.out)}
