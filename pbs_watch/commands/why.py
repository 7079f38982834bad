"""``why``: all that is known of one address, for a postmaster."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import TypeVar

from pbs_watch.commands.display import span
from pbs_watch.commands.elsewhere import Elsewhere, look
from pbs_watch.commands.forms import order_fields, order_subject, order_word
from pbs_watch.commands.reasons import REASONS
from pbs_watch.commands.settings import settings
from pbs_watch.durations import epoch, local
from pbs_watch.errors import UsageError
from pbs_watch.escape import shown
from pbs_watch.grants.address import literal
from pbs_watch.grants.changes import Grant, Refusal
from pbs_watch.grants.explain import Account, Granted, Open, Refused, explain
from pbs_watch.grants.orders import Allow, Bar
from pbs_watch.grants.store import Map
from pbs_watch.log.archive import line_at

_WIDTH = 80
_LABEL = 13

_MOST = 10
"""Entries of one kind that are said; a client can cause any number of refusals."""

_LONGEST_NAME = 64
"""Characters of a name that are shown among columns."""

_PATIENCE = 0.5
"""Seconds in which the daemon is to say when it was asked last: all else is known without it."""

_LONGEST_LINE = 500
"""Characters of a log line that are shown."""

_ANSWERS = {"found": "found", "absent": "not found", "unknown": "cannot say"}
"""How a lookup was answered, in the words of ``status``."""

_Item = TypeVar("_Item")


def why(arguments: argparse.Namespace) -> int:
    """Explain one address; 0 where it may relay, 1 where not."""
    address = literal(arguments.address.encode("utf-8", "surrogateescape"))
    if address is None:
        raise UsageError(
            f"{arguments.address!r} is not an address; write one like 192.0.2.7 or 2001:db8::1"
        )
    try:
        at = None if arguments.at is None else epoch(arguments.at)
    except UsageError as error:
        raise UsageError(f"--at: {error}") from None
    config = settings(arguments)
    grants = Map(config.map, "read", config.retention)
    try:
        account = explain(grants, address, time.time(), at)
        there = None
        if not account.may and account.at == account.now:
            there = look(config, grants, address, account.now)
    finally:
        grants.close()
    if there is not None and there.by is not None:
        account = replace(account, may=True, until=there.by.expires)
    last = _last_lookup(config.map, address)
    if arguments.json:
        print(json.dumps(_as_json(account, last, there), indent=1))
    else:
        print("\n".join(_sentences(account, last, there)))
    return 0 if account.may and not _but(account, last) else 1


def _last_lookup(path: Path, address: bytes) -> dict[str, object] | str:
    """When Postfix asked for it last, and the answer; a text where nobody knows."""
    from pbs_watch import live  # noqa: PLC0415 - as the next: only with a socket to ask
    from pbs_watch.answer.client import NobodyAnswersError, ask  # noqa: PLC0415

    try:
        answer = ask(path / live.SOCKET, live.NAME, live.ASKED + address, patience=_PATIENCE)
        found = None if answer is None else json.loads(answer)
    except (NobodyAnswersError, ValueError):
        return "not known: no daemon answers"
    return found if isinstance(found, dict) else "not known: no daemon answers"


# In words


def _sentences(
    account: Account, last: dict[str, object] | str, there: Elsewhere | None
) -> list[str]:
    granted = ", granted by another host" if there is not None and there.by is not None else ""
    told = [_verdict(account) + granted, *_but(account, last), *_reservation(account)]
    told.append("")
    if account.allow is not None:
        told += _section("Granted", ["by the operator, " + _order(account, account.allow)])
    for one in account.by[:_MOST]:
        told += _section("Granted", _granted(account, one))
        told += _line(account, one.grant, one.grant.user)
    told += _section("Users", _some(account.logins, lambda one: _user(account, one)))
    told += _section("Sessions", _some(account.sessions, _session))
    orders = [order for order in account.orders if order != account.allow]
    told += _section("Orders", _some(orders, lambda one: _order(account, one)))
    past = [one for one in account.past if one not in account.by]
    told += _section("Past", _some(past, _over))
    for refused in account.refusals[:_MOST]:
        told += _section("Refused", _refused(refused))
        told += _line(account, refused.refusal, refused.key.user)
    if len(account.refusals) > _MOST:
        told += _section("", [f"and {len(account.refusals) - _MOST:,} more reasons or users"])
    if told[-1] == "":
        then = "" if account.at == account.now else " of that time"
        here = "" if there is None else " here"
        told += [f"Nothing is known{here}{then}: no login, order, past grant or refusal."]
    if there is not None:
        told += _section("Elsewhere", [str(there)])
    if isinstance(last, dict) and last.get("time") is None:
        last = "none since the daemon started, or long ago"
    elif isinstance(last, dict):
        asked = local(float(str(last.get("time"))))
        last = f"{asked}, answered {_ANSWERS.get(str(last.get('answer')), 'unknown')}"
    return told + _section("Last lookup", [last])


def _but(account: Account, last: dict[str, object] | str) -> list[str]:
    """What the daemon answers all the same, where it would let relay by its grants."""
    if not account.may or account.at != account.now or not isinstance(last, dict):
        return []
    if last.get("shadow"):
        return ['but the daemon runs with shadow: every lookup is answered "not found"']
    if last.get("limited"):
        return ["but the user who logged in last has reached relay_limit: lookups do not permit"]
    return []


def _verdict(account: Account) -> str:
    address, when = shown(account.address), local(account.at)
    if account.at == account.now:
        return (
            f"{address} may relay {_until(account)}" if account.may else f"{address} may not relay"
        )
    may, may_not = ("may", "may not") if account.at > account.now else ("could", "could not")
    return f"{address} {may if account.may else may_not} relay at {when}"


def _reservation(account: Account) -> list[str]:
    """What a verdict of another time rests on."""
    if account.at == account.now:
        return []
    told = []
    if account.may:
        told.append(f"It {'may' if account.at > account.now else 'could'} {_until(account)}.")
    if account.at > account.now:
        told.append("That is if nothing changes.")
    elif not account.known:
        told.append(
            "The map does not remember that far back: what is over it keeps for "
            f"{span(account.remembered)}."
        )
    return wrap(" ".join(told), _WIDTH)


def _until(account: Account) -> str:
    if account.until is None:
        return "permanently"
    return f"until {local(account.until)}" + (" at the latest" if account.held else "")


def _granted(account: Account, one: Granted) -> list[str]:
    grant = one.grant
    who = f"a login of {_name(grant.user)} ({_name(grant.service)})"
    if not grant.user:
        who = f"a login of somebody ({_name(grant.service)})"
    said = f"by {who}, {local(grant.login)}"
    if not grant.login:
        said = "by a permanent row of the table authpfix, asked for again each minute"
    if grant.since and local(grant.since) < local(grant.login):
        said += f", without a gap since {local(grant.since)}"
    if one.address != account.address:
        said += f", for all of {shown(one.address)}"
    if one.until <= account.at:
        said += "; its window is over, an open session holds the address"
    return [said]


def _user(account: Account, one: Granted) -> str:
    over = " (over)" if one.until <= account.at else ""
    user = _name(one.grant.user) or "somebody"
    return f"{user} ({_name(one.grant.service)}) until {local(one.until)}{over}"


def _session(one: Open) -> str:
    began = local(one.hold.began) if one.hold.began else "an unknown time"
    return (
        f"{_name(one.key.service)} of {_name(one.key.user)}, port {_name(one.key.port) or '?'}, "
        f"since {began}, holds until {local(one.hold.until)}"
    )


def _order(account: Account, order: Allow | Bar) -> str:
    on, since = order_subject(order), local(order.since)
    note = f": {shown(order.note.encode('utf-8', 'surrogateescape'))}" if order.note else ""
    if isinstance(order, Allow):
        until = "permanently" if order.until is None else f"until {local(order.until)}"
        counts = ""
        if not order.holds(account.at):
            counts = " (over)"
        elif account.allow is None:
            counts = ", but a block counts more"
        return f"{on} allowed {since}, {until}{counts}{note}"
    if order_word(order) == "revoke":
        before = "" if order.until == order.since else f" up to {local(order.until)}"
        return f"{on}: logins{before} revoked {since}{note}"
    over = " (over)" if order.until <= account.at else ""
    return f"{on} blocked {since} until {local(order.until)}{over}{note}"


def _over(one: Granted) -> str:
    who = f"{_name(one.grant.user)} ({_name(one.grant.service)})"
    return f"{local(one.grant.since)} to {local(one.until)}, {who}"


def _refused(one: Refused) -> list[str]:
    refusal = one.refusal
    when = local(refusal.last)
    times = f"{refusal.times:,} times, {local(refusal.first)} to {when}"
    known = REASONS.get(one.key.reason)
    reason = known.one if known is not None else _name(one.key.reason.encode())
    return [f"{_name(one.key.user)}, {times if refusal.times > 1 else when}: {reason}"]


def _line(account: Account, at: Grant | Refusal, user: bytes) -> list[str]:
    """Where the line stands, and the line itself where it can be read."""
    if not at.source:
        return _section("", ["in no log of this host: another host's (shared), or imported"])
    name = account.sources.get(at.source)
    if name is None:
        return []
    path = shown(name.encode("utf-8", "surrogateescape"))
    if not at.file:
        return _section("", [f"in {path}"])
    told = _section("", [f"in {path}, inode {at.file}, byte {at.offset}"])
    line = _read_line(name, at, user)
    return [*told, f"    {line}"] if line is not None else told


def _read_line(name: str | None, at: Grant | Refusal, user: bytes) -> str | None:
    if name is None or not at.file or not name.startswith("/"):
        return None
    line = line_at(name, at.file, at.offset)
    # The number of a file is used again: another one may have it now.
    if line is None or user.lower() not in line.lower():
        return None
    text = shown(line)
    return text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + "..."


def _name(raw: bytes) -> str:
    text = shown(raw)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "..."


def _some(items: Sequence[_Item], say: Callable[[_Item], str]) -> list[str]:
    more = [f"and {len(items) - _MOST:,} more"] if len(items) > _MOST else []
    return [say(item) for item in items[:_MOST]] + more


def _section(label: str, lines: Iterable[str]) -> list[str]:
    """Lines of at most 80 columns beside a label."""
    told: list[str] = []
    for line in lines:
        # A long path stays whole, to be copied.
        told += wrap(
            line,
            _WIDTH - _LABEL,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return [(label if number == 0 else "").ljust(_LABEL) + line for number, line in enumerate(told)]


# As JSON


def _as_json(
    account: Account, last: dict[str, object] | str, there: Elsewhere | None
) -> dict[str, object]:
    past = [one for one in account.past if one not in account.by]
    return {
        "address": shown(account.address),
        "at": account.at,
        "may": account.may,
        "until": account.until,
        "permanent": account.may and account.until is None,
        "held": account.held,
        "known": account.known,
        "allow": None if account.allow is None else order_fields(account.allow),
        "granted": [_grant_fields(account, one, read=True) for one in account.by],
        "users": [_grant_fields(account, one) for one in account.logins],
        "sessions": [
            {
                "address": shown(one.address),
                "user": shown(one.key.user),
                "service": shown(one.key.service),
                "port": shown(one.key.port),
                "began": one.hold.began,
                "until": one.hold.until,
            }
            for one in account.sessions
        ],
        "orders": [order_fields(order) for order in account.orders],
        "past": [_grant_fields(account, one) for one in past],
        "refusals": [
            _refusal_fields(account, one, read=number < _MOST)
            for number, one in enumerate(account.refusals)
        ],
        "elsewhere": None if there is None else there.fields(),
        "last_lookup": last if isinstance(last, dict) else None,
    }


def _grant_fields(account: Account, one: Granted, *, read: bool = False) -> dict[str, object]:
    grant = one.grant
    return {
        "address": shown(one.address),
        "user": shown(grant.user),
        "service": shown(grant.service),
        "since": grant.since,
        "login": grant.login,
        "until": one.until,
        **_place(account, grant, grant.user, read=read),
    }


def _refusal_fields(account: Account, one: Refused, *, read: bool) -> dict[str, object]:
    refusal = one.refusal
    return {
        "reason": one.key.reason,
        "user": shown(one.key.user),
        "service": shown(refusal.service),
        "times": refusal.times,
        "first": refusal.first,
        "last": refusal.last,
        **_place(account, refusal, one.key.user, read=read),
    }


def _place(account: Account, at: Grant | Refusal, user: bytes, *, read: bool) -> dict[str, object]:
    """Where a line stands; the line itself, where it can be read, only of some."""
    name = account.sources.get(at.source)
    return {
        "source": None if name is None else shown(name.encode("utf-8", "surrogateescape")),
        "inode": at.file or None,
        "offset": at.offset if at.file else None,
        "line": _read_line(name, at, user) if read else None,
    }
