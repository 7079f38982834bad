"""Attackers who never authenticate make the real Courier log logins, while 50 users log in.

One attack is seen by several daemons, which differ in ``cuts``, and each of them is asked by a
service of Postfix of its own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.system.attackers import attack
from tests.system.conftest import MailHost
from tests.system.courier import PASSWORD, SERVICES, USERS, WAYS, close, opened
from tests.system.postfix import SOCKET, SOCKETMAP, TCP

ASKED = {
    "strict": ("tcp", "--tcp-table", TCP),
    "next": ("socketmap:inet", "--socketmap", SOCKETMAP),
    "off": ("socketmap:unix", "--socketmap", f"unix:{{}}/{SOCKET}"),
}
"""For each setting of ``cuts`` the service of Postfix that asks the daemon, and where it does."""

ATTACKERS = 5
"""Of each of Courier's services."""

LASTS = 4.0
"""Seconds of an attack."""

Clients = Iterator[str]


@dataclass(slots=True)
class Attack:
    """What became of an attack; sets of addresses for each daemon.

    ``at_once``: the users whose first recipient after their login, amid the attack, was accepted.
    """

    forgers: list[str]
    users: list[str]
    relayed: dict[str, set[str]] = field(default_factory=dict)
    at_once: dict[str, set[str]] = field(default_factory=dict)
    names_sent: int = 0


class Scene:
    """The mail host, the daemons beside it, and who does what."""

    def __init__(self, mailhost: MailHost, daemons: dict[str, Daemon], clients: Clients) -> None:
        self._mailhost = mailhost
        self._daemons = daemons
        self._clients = clients

    def relays(self, cuts: str, client: str) -> bool:
        """Whether Postfix, which asks that daemon, relays for ``client``."""
        return self._mailhost.relays(client, ASKED[cuts][0])

    def relay(self, clients: list[str]) -> dict[str, set[str]]:
        """Which of ``clients`` each daemon lets relay."""
        with ThreadPoolExecutor(8) as together:
            return {
                cuts: {
                    client
                    for client, relays in zip(
                        clients, together.map(partial(self.relays, cuts), clients), strict=True
                    )
                    if relays
                }
                for cuts in self._daemons
            }

    def attacked(self) -> Attack:
        """An attack while the users log in, each once."""
        attackers = [(next(self._clients), name) for name in SERVICES for _ in range(ATTACKERS)]
        victims = [next(self._clients) for _ in attackers]
        users = [next(self._clients) for _ in range(50)]
        seen = Attack([one for one, _ in attackers] + victims, users)
        seen.relayed = {cuts: set() for cuts in self._daemons}
        seen.at_once = {cuts: set() for cuts in self._daemons}
        over = threading.Event()

        def forge(attacker: tuple[str, str], victim: str) -> int:
            rounds = 0
            while not over.is_set():
                attack(attacker[0], victim, attacker[1])
                rounds += 4
            return rounds

        def try_to_relay() -> None:
            for client in itertools.cycle(seen.forgers):
                if over.is_set():
                    return
                for cuts, relaying in seen.relayed.items():
                    if self.relays(cuts, client):
                        relaying.add(client)

        def log_in(number: int, client: str) -> None:
            over.wait(LASTS * (number + 1) / 60)
            session = opened(client, WAYS[number % len(WAYS)])
            session.login(USERS[number], PASSWORD)
            for cuts, accepted in seen.at_once.items():
                if self.relays(cuts, client):
                    accepted.add(client)
            close(session)

        with ThreadPoolExecutor(len(attackers) + len(users) + 1) as together:
            began = time.monotonic()
            forging = [
                together.submit(forge, *pair) for pair in zip(attackers, victims, strict=True)
            ]
            trying = together.submit(try_to_relay)
            try:
                list(together.map(log_in, range(len(users)), users))
                over.wait(max(LASTS - (time.monotonic() - began), 0))
            finally:
                over.set()
            seen.names_sent = sum(one.result() for one in forging)
            trying.result()
        self._mailhost.rsyslog.mark()
        for cuts, relaying in self.relay(seen.forgers).items():
            seen.relayed[cuts] |= relaying
        return seen

    def log_in_again(self, users: list[str]) -> None:
        """All users, one after the other, each in a session that ends."""
        for number, client in enumerate(users):
            session = opened(client, WAYS[number % len(WAYS)])
            session.login(USERS[number], PASSWORD)
            close(session)
        self._mailhost.rsyslog.mark()


@pytest.fixture
def scene(mailhost: MailHost, tmp_path: Path, clients: Clients) -> Iterator[Callable[..., Scene]]:
    """Starts a daemon for each setting of ``cuts`` that is named, with more ``words``."""
    with ExitStack() as ends:

        def started(*settings: str, words: Sequence[str] = ()) -> Scene:
            daemons = {}
            for cuts in settings:
                home = tmp_path / cuts
                home.mkdir()
                _, option, where = ASKED[cuts]
                said = [option, where.format(mailhost.postfix.spool), "--cuts", cuts, *words]
                daemons[cuts] = Daemon(home, *said, logs=[mailhost.rsyslog.log])
                ends.callback(daemons[cuts].end)
            return Scene(mailhost, daemons, clients)

        yield started


@contextmanager
def restarted(mailhost: MailHost) -> Iterator[None]:
    """Courier is started again afterwards: its logger may be in the middle of a cut."""
    try:
        yield
    finally:
        mailhost.courier.stop_services()
        mailhost.courier.start_services()


def told(title: str, seen: Attack) -> None:
    """For the numbers in docs/chain.rst: ``pytest -s``."""
    print(f"\n{title}: {seen.names_sent} names sent")
    for cuts in seen.relayed:
        print(
            f"  cuts = {cuts}: {len(seen.relayed[cuts])} of {len(seen.forgers)} forged addresses "
            f"relayed, {len(seen.at_once[cuts])} of {len(seen.users)} users at once"
        )


@pytest.mark.parametrize("stutters", [False, True], ids=["", "rsyslog-stutters"])
def test_attackers_relay_nothing_and_users_can_at_their_next_login(
    mailhost: MailHost, scene: Callable[..., Scene], *, stutters: bool
) -> None:
    here = scene("strict", "next", "off")
    with restarted(mailhost):
        with ExitStack() as during:
            if stutters:
                during.enter_context(mailhost.rsyslog.stuttering())
            seen = here.attacked()
        told("stuttering" if stutters else "plain", seen)
        # It is a real attack: who believes every line lets them relay.
        assert len(seen.relayed["off"]) > ATTACKERS
        assert seen.relayed["strict"] == set()
        assert seen.relayed["next"] == set()
        here.log_in_again(seen.users)
        after = here.relay(seen.users)
        assert after["strict"] == after["next"] == set(seen.users)
        assert here.relay(seen.forgers)["strict"] == set()


@pytest.mark.parametrize("stutters", [False, True], ids=["", "rsyslog-stutters"])
def test_with_the_cure_every_line_can_be_believed(
    mailhost: MailHost, scene: Callable[..., Scene], *, stutters: bool
) -> None:
    here = scene("off", words=["--miss-wait", "0.8s"])
    with mailhost.courier.cured():
        with ExitStack() as during:
            if stutters:
                during.enter_context(mailhost.rsyslog.stuttering())
            seen = here.attacked()
        told("cured, stuttering" if stutters else "cured", seen)
        assert "LOGIN FAILED, user=AAAA" in mailhost.rsyslog.text()
        assert seen.relayed["off"] == set()
        assert seen.at_once["off"] == set(seen.users)
