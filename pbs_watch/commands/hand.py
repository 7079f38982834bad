"""``allow``, ``revoke``, ``block``, ``unblock``, ``expire`` and ``forget``: the operator's hand.

They write beside the running daemon and count from the very next lookup.
"""

from __future__ import annotations

import argparse
import os
import time

from pbs_watch.commands.forms import counted
from pbs_watch.commands.settings import operator, settings
from pbs_watch.commands.telling import telling
from pbs_watch.config import Config
from pbs_watch.durations import local, seconds
from pbs_watch.errors import UsageError
from pbs_watch.escape import meant, shown
from pbs_watch.grants import hand
from pbs_watch.grants.address import canonical, network, overlap, prefix, widened
from pbs_watch.grants.anew import old_maps
from pbs_watch.grants.copy import ordering
from pbs_watch.grants.orders import LONGEST_NOTE, WIDEST, Allow, Bar
from pbs_watch.grants.owner import unless_owned
from pbs_watch.grants.rows import LONGEST_NAME
from pbs_watch.grants.store import Map
from pbs_watch.grants.strike import GoesOn, Struck

_NICENESS = 10
"""A million grants take half a minute to remove: lookups go first."""

_MOST = 5
"""Networks that are named as still allowed."""


def allow(arguments: argparse.Namespace) -> int:
    """Let an address or a network relay."""
    config = settings(arguments)
    subject = _network(arguments.subject)
    size, length, _ = prefix(subject)
    if length < WIDEST[size] and not arguments.force:
        raise UsageError(
            f"{subject.decode()} is wider than /{WIDEST[size]}: everybody in it could relay; "
            "name a smaller one, or say --force"
        )
    _refuse_never(config, subject, force=arguments.force)
    now = time.time()
    until: float | None = now + config.window
    if arguments.permanent:
        until = None
    elif arguments.length is not None:
        until = now + _length(arguments.length)
    order = Allow(subject, now, until, _note(arguments))
    with ordering(config.map, config.retention) as grants:
        hand.allow(grants, order, operator())
        shared = hand.shares(grants)
    print(f"{subject.decode()} may relay {_until(until)}{_told(config, shared=shared)}")
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    """Take the grants of an address, a network or a user away; new logins grant again."""
    now = time.time()
    return _bar(arguments, "revoke", now, now)


def block(arguments: argparse.Namespace) -> int:
    """Take the grants away, and let logins grant nothing for a while."""
    now = time.time()
    return _bar(arguments, "block", now, now + _length(arguments.length))


def unblock(arguments: argparse.Namespace) -> int:
    """End a block; 1 where there is none."""
    config = settings(arguments)
    now = time.time()
    order = _subject(config, arguments, now, now)
    with ordering(config.map, config.retention) as grants:
        ended = hand.unblock(grants, order, operator())
        shared = hand.shares(grants)
        wider = None
        if order.subject == "network":
            first = order.name.partition(b"/")[0]
            orders, now = grants.obey(), time.time()
            # Where a network is granted as one, a block of any of its addresses holds all.
            wider = orders.blocked(first, now) or orders.blocked(_together(config, order), now)
    if ended:
        told = _told(config, shared=shared)
        print(f"{_named(order)} is blocked no more; logins from now on grant again{told}")
    else:
        print(f"{_named(order)} has no block of its own")
    if wider is not None and wider.name != order.name:
        held = f"{wider.name.decode()} is blocked {_until(wider.until)}"
        print(f"but {held}, and holds it: unblock that")
        return 1
    return 0 if ended else 1


def expire(arguments: argparse.Namespace) -> int:
    """Remove what has expired, or all that was granted by logins older than some time."""
    config = settings(arguments)
    os.nice(_NICENESS)
    now = time.time()
    with ordering(config.map, config.retention) as grants:
        if arguments.older_than is None:
            _sweep(config, grants, now)
            return 0
        before = now - seconds(arguments.older_than)
        order = Bar("everybody", b"", now, before)
        struck = hand.bar(grants, order, operator(), "expire")
    print(f"logins before {local(before)} count no more: {_struck(struck)}")
    return 0


def _sweep(config: Config, grants: Map, now: float) -> None:
    """A daemon tells each grant that is over in its audit trail: it is left to him."""
    with unless_owned(config.map) as alone:
        if alone:
            swept = hand.sweep(grants, operator(), now)
            print(f"{counted(swept, 'grant')} had expired and {_were(swept)} removed")
        else:
            print("the daemon removes what has expired by itself, within some seconds")


def forget(arguments: argparse.Namespace) -> int:
    """Remove all that is remembered of a user."""
    config = settings(arguments)
    user = config.user(_bytes(arguments.user))
    with ordering(config.map, config.retention) as grants:
        found = hand.forget(grants, user, operator(), time.time())
        shared = hand.shares(grants)
    told = ", ".join(counted(number, what) for what, number in found.items() if number)
    print(f"removed: {told}" if told else f"nothing is remembered of {shown(user)}")
    if found["order"]:
        print("orders about that user are gone: new logins grant again, and so may old ones")
    if shared:
        print(telling(config.map, "the engine of the shared grants is told to forget"))
        print("other hosts remember, and are not told: do it there")
    for one in old_maps(config.map):
        print(f"{one} is an old map, which may name that user: remove it")
    return 0 if told else 1


def _bar(arguments: argparse.Namespace, what: str, now: float, until: float) -> int:
    config = settings(arguments)
    order = _subject(config, arguments, now, until)
    others: list[bytes] = []
    with ordering(config.map, config.retention) as grants:
        struck = hand.bar(grants, order, operator(), what)
        left = _still_allowed(grants, order)
        shared = hand.shares(grants)
        if order.subject == "user":
            others = hand.similar(grants, order.name, _MOST)
    done = "revoked" if what == "revoke" else f"blocked {_until(struck.until)}"
    print(f"{_named(order)} {done}: {_struck(struck, shared=shared)}{_told(config, shared=shared)}")
    # Where hosts share their grants, his logins may be in the log of another one.
    unknown = order.subject == "user" and not struck.logins + struck.sessions and not shared
    if unknown:
        print("the map knows no login of that user now: look at the name in pbs-watch list")
    together = _together(config, order)
    if together != order.name and (struck.addresses or what == "block"):
        done = "lost their grant" if struck.addresses else "are blocked"
        print(f"the addresses of {together.decode()} are granted as one, and {done} together")
    for one in left[:_MOST]:
        print(f"still allowed: {_allow(one)}; revoke that too")
    if len(left) > _MOST:
        print(f"and {len(left) - _MOST:,} more; pbs-watch list --orders shows them")
    kept = struck.kept if order.subject == "user" or not left else 0
    for going in struck.going_on[:_MOST] if kept else ():
        print(_goes_on(going))
    if kept > _MOST:
        print(f"and {kept - _MOST:,} more addresses may relay all the same")
    if others:
        names = ", ".join(map(shown, others[:_MOST]))
        more = " and others" if len(others) > _MOST else ""
        print(f"the map knows {names}{more} too: other users, unless you know better")
    # Who is blocked need not have been there.
    return 1 if left or kept or (unknown and what == "revoke") else 0


def _allow(order: Allow) -> str:
    note = f" ({shown(order.note.encode('utf-8', 'surrogateescape'))})" if order.note else ""
    return f"{order.network.decode()} {_until(order.until)}{note}"


def _goes_on(one: GoesOn) -> str:
    """Why an address that lost something may relay all the same."""
    if one.allow is not None:
        return f"{one.address.decode()} may relay all the same: allowed as {_allow(one.allow)}"
    users = ", ".join(shown(user) or "somebody" for user in one.users)
    return f"{one.address.decode()} may relay all the same: {users} logged in there too"


def _together(config: Config, order: Bar) -> bytes:
    """The name of an order, or the network that is granted with its address."""
    single = order.subject == "network" and b"/" not in order.name
    return widened(order.name, config.prefix) if single else order.name


def _told(config: Config, *, shared: bool) -> str:
    """What is said of the other hosts, where there are any."""
    return f"; {telling(config.map)}" if shared else ""


def _struck(struck: Struck, *, shared: bool = False) -> str:
    """What an order ended, for people; ``shared``: other hosts may know more."""
    ended = [
        counted(number, noun)
        for number, noun in (
            (struck.allows, "allow"),
            (struck.logins, "login"),
            (struck.sessions, "open session"),
        )
        if number
    ]
    if not ended:
        return "nothing to end was known here" if shared else "there was nothing to end"
    lost = f"; {_lost(struck.addresses)}" if struck.addresses or not struck.allows else ""
    return f"ended {', '.join(ended)}{lost}"


def _lost(addresses: int) -> str:
    if not addresses:
        return "no address lost its grant"
    return (
        "1 address lost its grant"
        if addresses == 1
        else f"{addresses:,} addresses lost their grant"
    )


def _still_allowed(grants: Map, order: Bar) -> list[Allow]:
    """What the operator allows within or around what is barred, and goes on to relay."""
    if order.subject != "network":
        return []
    now = time.time()
    orders = grants.obey()
    length = prefix(order.name)[1]
    return [
        one
        for one in orders.allows
        if one.holds(now)
        and overlap(one.network, order.name)
        # A block makes a hole into what is allowed around it.
        and (order.until <= order.since or prefix(one.network)[1] > length)
    ]


def _subject(config: Config, arguments: argparse.Namespace, since: float, until: float) -> Bar:
    """What is to be barred; raises :class:`UsageError` unless it is one thing."""
    if (arguments.subject is None) == (arguments.user is None):
        raise UsageError("name an address or network, or a user with --user")
    note = _note(arguments)
    if arguments.user is not None:
        return Bar("user", config.user(_bytes(arguments.user)), since, until, note)
    return Bar("network", _network(arguments.subject), since, until, note)


def _note(arguments: argparse.Namespace) -> str:
    note: str = getattr(arguments, "note", None) or ""
    length = len(note.encode("utf-8", "surrogateescape"))
    if length > LONGEST_NOTE:
        raise UsageError(f"--note: {length:,} bytes; write at most {LONGEST_NOTE}")
    return note


def _network(text: str) -> bytes:
    return canonical(network(text))


def _bytes(user: str) -> bytes:
    raw = meant(user)
    if not raw or b"\0" in raw or len(raw) > LONGEST_NAME:
        raise UsageError(f"{user!r} cannot be a user's name; write it as pbs-watch list shows it")
    return raw


def _refuse_never(config: Config, subject: bytes, *, force: bool) -> None:
    """An allow wins over ``never``: that is to be meant."""
    for item in config.networks(config.never).items:
        never = canonical(item)
        if overlap(never, subject) and not force:
            both = "" if never == subject else f", which overlaps with {never.decode()}"
            raise UsageError(
                f"{subject.decode()}{both}, is never granted: the setting never has it, by its "
                "number or as own or gateway; take it out there, or say --force"
            )


def _length(text: str) -> float:
    length = seconds(text)
    if length <= 0:
        raise UsageError(f"{text!r} is no time at all; write a duration like 1h")
    return length


def _until(until: float | None) -> str:
    return "permanently" if until is None else f"until {local(until)}"


def _named(order: Bar) -> str:
    return f"user {shown(order.name)}" if order.subject == "user" else order.name.decode()


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
