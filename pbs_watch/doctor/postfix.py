"""Whether Postfix asks us, in the right place, and what granted clients meet beside.  Pure.

Each SMTP service of master.cf is judged with the lists that hold for it.  One on a submission port
is for clients alone; any other takes inbound mail, which must never wait for us (promise 4).
Rests on facts/postfix.md, postconf(5), master(5).
"""

from __future__ import annotations

from collections.abc import Iterator

from pbs_watch.doctor.finding import Finding, fine, look, unseen, wrong
from pbs_watch.doctor.restrictions import Ours, table
from pbs_watch.doctor.services import LISTS, RECIPIENT, RELAY, Facts, Met, queue_of, smtp
from pbs_watch.doctor.tables import chroot, elsewhere, readable, screens

_WARNINGS = 3
"""Warnings of postconf that are told; one mistake may make many."""

_STOPS = {
    "reject",
    "defer",
    "reject_unauth_destination",
    "defer_unauth_destination",
}
"""What no stranger who wants to relay passes."""


def judge(facts: Facts, ours: Ours) -> Iterator[Finding]:
    """All that is to be said of Postfix."""
    if not facts.installed:
        yield unseen("postfix-asks", "there is no Postfix on this host", "run doctor where it is")
        return
    if facts.why:
        yield unseen("postfix-asks", f"Postfix's settings cannot be seen: {facts.why}")
        return
    queue, met = queue_of(facts), smtp(facts, ours)
    asking = [one for one in met if one.asks]
    for warning in facts.warnings[:_WARNINGS]:
        text = warning.removeprefix("postconf: ").removeprefix("warning: ")
        yield look("postfix-warnings", f"postconf warns: {text}")
    yield from _asks(asking, met, ours)
    for one in asking:
        yield from _submission(one) if one.submission else _inbound(one)
        yield from screens(one)
        yield from chroot(one, ours, queue)
    yield from _submissions(met)
    yield from readable(asking, facts)
    yield from elsewhere(facts, ours, queue)


def suggested(ours: Ours) -> str:
    """The table to write, where nobody asks us yet."""
    for where in ours.tcp:
        return f"tcp:{where}"
    for where in ours.socketmap:
        return f"socketmap:{where if where.startswith('unix:') else f'inet:{where}'}:relay"
    return "tcp:127.0.0.1:10041"


def line_for(name: str) -> str:
    """The line of main.cf that README.rst recommends, with the table ``name``."""
    return (
        f"write in main.cf: {RELAY} = permit_mynetworks, permit_sasl_authenticated, "
        f"permit_auth_destination, check_client_access {name}, reject_unauth_destination"
    )


def _asks(asking: list[Met], met: list[Met], ours: Ours) -> Iterator[Finding]:
    if asking:
        names = ", ".join(one.service.name for one in asking)
        yield fine("postfix-asks", f"Postfix asks pbs-watch in its services {names}")
        return
    others = {
        found.text
        for one in met
        for list_ in one.lists.values()
        for step in list_
        if (found := table(step.argument)) is not None
    }
    said = f", but {', '.join(sorted(others))}" if others else ""
    where = ", ".join((*ours.tcp, *ours.socketmap))
    yield wrong(
        "postfix-asks",
        f"Postfix does not ask pbs-watch at {where}{said}",
        line_for(suggested(ours)),
    )


# Services that take inbound mail


def _inbound(met: Met) -> Iterator[Finding]:
    name = f"service {met.service.name}"
    asked = next(met.lists[one][at] for one, found in met.asks.items() for at in found[:1])
    cure = line_for(asked.argument)
    yield from _warned(met)
    if RELAY in met.asks:
        yield from _order(met, RELAY, name, cure)
    elif RECIPIENT in met.asks and _passes(met, RELAY):
        yield from _order(met, RECIPIENT, name, cure)
    elif RECIPIENT in met.asks:
        yield wrong(
            "postfix-list",
            f"{name}: pbs-watch is asked in {RECIPIENT} alone, where it cannot permit what "
            f"{RELAY} refuses, and where inbound mail waits for it",
            f"take it out there, and {cure}",
        )
    for other in met.asks:
        if other == RELAY or (other == RECIPIENT and RELAY not in met.asks):
            continue
        before = {step.name for step in met.lists[other][: met.asks[other][0]]}
        text = f"{name}: pbs-watch is asked in {other} too"
        if before & {"permit_auth_destination"}:
            yield look("postfix-list", f"{text}: a second lookup for each recipient")
        else:
            yield wrong(
                "postfix-list",
                f"{text}: each inbound mail then waits for it",
                f"take it out of {other}; clients that need more than relaying are better "
                "served by a submission service",
            )


def _order(met: Met, where: str, name: str, cure: str) -> Iterator[Finding]:
    """Whether the list asks us after inbound mail is accepted and before relaying is refused."""
    list_ = met.lists[where]
    at = met.asks[where][0]
    before = [step.name for step in list_[:at]]
    after = [step.name for step in list_[at + 1 :]]
    step = list_[at]
    sound = True
    if step.name != "check_client_access":
        sound = False
        yield wrong(
            "postfix-order",
            f"{name}: {step} is no check of the client's address",
            f"write check_client_access {step.argument}",
        )
    stopped = next((one for one in before if one in {*_STOPS, "permit"}), None)
    if stopped is not None:
        sound = False
        yield wrong(
            "postfix-order",
            f"{name}: {stopped} stands before pbs-watch, which is never asked",
            cure,
        )
    elif "permit_auth_destination" not in before:
        sound = False
        yield wrong(
            "postfix-order",
            f"{name}: no permit_auth_destination before pbs-watch: inbound mail waits for it",
            cure,
        )
    if not _closed(met):
        sound = False
        yield wrong(
            "postfix-order",
            f"{name}: nothing after pbs-watch refuses strangers: an open relay",
            f"end the list with reject_unauth_destination: {cure}",
        )
    elif not set(after) & _STOPS:
        yield look(
            "postfix-order",
            f"{name}: {where} does not refuse strangers itself; another list does",
            f"end the list with reject_unauth_destination: {cure}",
        )
    if sound:
        yield fine("postfix-order", f"{name}: pbs-watch is asked about relay attempts only")


def _warned(met: Met) -> Iterator[Finding]:
    for list_, found in met.asks.items():
        if any(met.lists[list_][at].warned for at in found):
            yield wrong(
                "postfix-warn",
                f"service {met.service.name}: warn_if_reject stands before pbs-watch in {list_}: "
                "an outage refuses mail for good (554) instead of deferring it",
                "take warn_if_reject out there",
            )


def _closed(met: Met) -> bool:
    """Whether strangers are refused: by a list that ends so, or by one that does not ask us."""
    for name in (RELAY, RECIPIENT):
        last = met.asks.get(name, [-1])[-1]
        if any(step.name in _STOPS and not step.warned for step in met.lists[name][last + 1 :]):
            return True
    return False


# Submission services


def _submission(met: Met) -> Iterator[Finding]:
    name = f"service {met.service.name}"
    yield from _warned(met)
    stopped = next((list_ for list_ in LISTS if not _passes(met, list_)), None)
    if stopped is not None:
        yield wrong(
            "postfix-submission",
            f"{name}: granted clients do not pass its {stopped}",
            f"put pbs-watch before what refuses there, or write in master.cf: -o {stopped}=",
        )
    elif not _closed(met):
        yield wrong(
            "postfix-submission",
            f"{name}: nothing after pbs-watch refuses strangers: an open relay",
            f"end its {RECIPIENT} with reject",
        )
    else:
        yield fine("postfix-submission", f"{name}: accepts granted clients")


def _passes(met: Met, name: str) -> bool:
    """Whether a granted client that does not authenticate gets through a list."""
    asked = met.asks.get(name, [])
    for at, step in enumerate(met.lists[name]):
        if at in asked and step.name == "check_client_access":
            return True
        if step.name in _STOPS and not step.warned:
            return False
    return True


def _submissions(met: list[Met]) -> Iterator[Finding]:
    found = [one for one in met if one.service.submission]
    if not found:
        yield look(
            "postfix-submission",
            "there is no submission service: most providers let home users reach port 587 or 465 "
            "alone, not 25",
            "enable submission in master.cf as README.rst shows",
        )
    for one in found:
        if not one.asks:
            yield look(
                "postfix-submission",
                f"service {one.service.name} does not ask pbs-watch",
                "if granted clients are to use it, write in master.cf what README.rst shows",
            )
