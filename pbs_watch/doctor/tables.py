"""The tables by which Postfix asks us, and what granted clients meet beside them.  Pure.

Rests on facts/postfix.md ("socketmap": the chroot), proxymap(8) and postconf(5).
"""

from __future__ import annotations

from collections.abc import Iterator

from pbs_watch.doctor.finding import Finding, fine, look, wrong
from pbs_watch.doctor.restrictions import SCREENS, Ours, Table, table, words
from pbs_watch.doctor.services import Facts, Met, Service, used


def screens(met: Met) -> Iterator[Finding]:
    """What refuses mail of dynamic addresses, and is met in spite of a grant."""
    found: list[str] = []
    for name, list_ in met.lists.items():
        upto = met.asks.get(name, [len(list_)])[0]
        found += [str(step) for step in list_[:upto] if SCREENS.fullmatch(step.name)]
    name = f"service {met.service.name}"
    if found:
        yield look(
            "postfix-screens",
            f"{name}: granted clients meet {', '.join(dict.fromkeys(found))}, which a grant does "
            "not skip",
            "let them use a submission service without these checks",
        )
    else:
        yield fine("postfix-screens", f"{name}: no DNSBL, greylisting or HELO check before a grant")


def chroot(met: Met, ours: Ours, queue: str) -> Iterator[Finding]:
    """Whether smtpd, in its chroot, reaches us by the name that its table has."""
    service = met.service
    tables = {
        met.lists[name][at].argument: None for name, found in met.asks.items() for at in found
    }
    for found in filter(None, map(table, tables)):
        if found.where.startswith("unix:"):
            yield from _socket(service, found, ours, queue)
        elif service.chroot and not found.proxied and found.host == "localhost":
            yield look(
                "postfix-chroot",
                f"service {service.name}: {found.text} is a name, and a chroot may have no hosts",
                f"write {found.text.replace('localhost', '127.0.0.1')}",
            )


def _socket(service: Service, found: Table, ours: Ours, queue: str) -> Iterator[Finding]:
    path = found.where.removeprefix("unix:")
    jailed = service.chroot and not found.proxied
    # smtpd works in its queue directory, and after chroot sees nothing else.
    within = f"{queue.rstrip('/')}/{path.lstrip('/')}"
    reached = within if jailed or not path.startswith("/") else path
    name = f"service {service.name}"
    if f"unix:{reached}" in ours.socketmap:
        yield fine("postfix-chroot", f"{name}: its {found.text} is our socket {reached}")
        return
    how = f"runs in the chroot {queue}, where" if jailed else "runs without chroot, where"
    right = next(one.removeprefix("unix:") for one in ours.socketmap if one.startswith("unix:"))
    cure = f"write in main.cf socketmap:unix:{right}:relay"
    if jailed:
        inside = right.startswith(queue.rstrip("/") + "/")
        cure = (
            f"write in main.cf socketmap:unix:{right.removeprefix(queue.rstrip('/'))}:relay"
            if inside
            else f'set socketmap = ["unix:{within}"], or write proxy: before the table'
        )
    yield wrong(
        "postfix-chroot", f"{name} {how} {found.text} means {reached}: not our socket", cure
    )


def readable(asking: list[Met], facts: Facts) -> Iterator[Finding]:
    """Whether this Postfix can read the tables by which it asks us."""
    allowed = set(words(facts.main.get("proxy_read_maps", "")))
    for one in used(asking):
        needed = {one.kind, "proxy"} if one.proxied else {one.kind}
        missing = sorted(needed - facts.types) if facts.types else []
        if missing:
            yield wrong(
                "postfix-tables",
                f"this Postfix has no {', '.join(missing)} tables (postconf -m)",
                "install a Postfix that has them, or use the other of tcp: and socketmap:",
            )
        elif one.kind == "socketmap" and one.name != "relay":
            yield wrong(
                "postfix-tables",
                f"{one.text} asks for the map {one.name!r}, which pbs-watch does not have",
                f"write {one.text.rpartition(':')[0]}:relay",
            )
        elif one.proxied and one.text not in allowed:
            yield wrong(
                "postfix-tables",
                f"{one.text} is not among proxy_read_maps, so that proxymap refuses it",
                f"write in main.cf proxy_read_maps = {one.text}, and what stands there now",
            )
        elif facts.types:
            yield fine("postfix-tables", f"this Postfix reads {one.text}")


def elsewhere(facts: Facts, ours: Ours, queue: str) -> Iterator[Finding]:
    """Parameters in which our table does harm."""
    for name, why in (
        ("mynetworks", "an outage then fails every mail, and permissions mean more than relaying"),
        ("postscreen_access_list", "postscreen waits for a table, all of its clients with it"),
    ):
        if any(
            (found := table(word)) is not None and ours.holds(found, queue)
            for word in words(facts.main.get(name, ""))
        ):
            yield wrong("postfix-elsewhere", f"{name} asks pbs-watch: {why}", "take it out there")
