"""Postfix's SMTP services, and where the lists that hold for each of them ask us.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pbs_watch.doctor.restrictions import Ours, Step, Table, steps, table, words
from pbs_watch.errors import UsageError
from pbs_watch.grants.address import Network, network

RELAY, RECIPIENT = "smtpd_relay_restrictions", "smtpd_recipient_restrictions"

_BEFORE = ("smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions")
_AFTER = ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")
LISTS = (*_BEFORE, RELAY, RECIPIENT, *_AFTER)
"""The lists that a client of smtpd goes through, in the order in which it does."""

_SUBMISSION = {"submission", "587", "submissions", "smtps", "465"}


@dataclass(frozen=True, slots=True)
class Service:
    """A service of master.cf: ``command`` is its program, ``said`` what its ``-o`` options say."""

    name: str
    kind: str
    command: str
    chroot: bool
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def submission(self) -> bool:
        """Whether its port is one of submission."""
        return self.name.rpartition(":")[2] in _SUBMISSION


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``postconf`` tells; ``why``: why it tells nothing.  ``main``: all parameters of main.cf,
    written out.  ``types``: the tables that this Postfix can read.  ``warnings``: what postconf
    says besides.
    """

    main: Mapping[str, str] = field(default_factory=dict)
    services: Sequence[Service] = ()
    types: frozenset[str] = frozenset()
    why: str = ""
    installed: bool = True
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Met:
    """A service, and the steps that a client goes through there, by the list's name."""

    service: Service
    lists: Mapping[str, list[Step]]
    asks: Mapping[str, list[int]]
    """Where in each list we are asked."""

    @property
    def submission(self) -> bool:
        """Whether the service is for clients alone: by its port, or since it accepts no others."""
        if self.service.submission:
            return True
        both = [self.lists.get(RELAY, []), self.lists.get(RECIPIENT, [])]
        names = {step.name for list_ in both for step in list_}
        ends = any(list_ and list_[-1].name == "reject" for list_ in both)
        return ends and not names & {"permit_auth_destination", "reject_unauth_destination"}


def meets(service: Service, main: Mapping[str, str], ours: Ours, queue: str) -> Met:
    """The lists that hold for a service; ``queue``: Postfix's queue directory."""
    classes = {
        name: main.get(name, "") for name in words(main.get("smtpd_restriction_classes", ""))
    }
    lists = {name: steps(service.said.get(name, main.get(name, "")), classes) for name in LISTS}
    asks = {
        name: found
        for name, list_ in lists.items()
        if (found := [at for at, one in enumerate(list_) if _asks_us(one, ours, queue)])
    }
    return Met(service, lists, asks)


def _asks_us(step: Step, ours: Ours, queue: str) -> bool:
    found = table(step.argument)
    return found is not None and ours.holds(found, queue)


def smtp(facts: Facts, ours: Ours) -> list[Met]:
    """All services of smtpd."""
    queue = queue_of(facts)
    return [
        meets(service, facts.main, ours, queue)
        for service in facts.services
        if service.command == "smtpd" and service.kind in {"inet", "pass"}
    ]


def trusted(facts: Facts) -> list[Network]:
    """The networks of ``mynetworks``, as far as they stand there as such."""
    found = []
    for word in words(facts.main.get("mynetworks", "")):
        try:
            found.append(network(word.replace("[", "").replace("]", "")))
        except UsageError:
            continue  # a table, a file, or an exception
    return found


def queue_of(facts: Facts) -> str:
    """Postfix's queue directory, which is its chroot as well."""
    return facts.main.get("queue_directory", "/var/spool/postfix")


def used(met: Iterable[Met]) -> list[Table]:
    """The tables by which the services ask us."""
    found = {
        asked
        for one in met
        for name, places in one.asks.items()
        for place in places
        if (asked := table(one.lists[name][place].argument)) is not None
    }
    return sorted(found, key=lambda asked: asked.text)
