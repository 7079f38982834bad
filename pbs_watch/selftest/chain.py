"""The links of the chain, from the line to the end of its grant."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pbs_watch.doctor import mail
from pbs_watch.doctor.places import Places
from pbs_watch.doctor.restrictions import Ours
from pbs_watch.doctor.services import smtp, used
from pbs_watch.errors import MapError
from pbs_watch.grants.store import Map
from pbs_watch.log.journal import PREFIX
from pbs_watch.selftest.line import TAG, Marked
from pbs_watch.selftest.steps import Link, answers, journal_has, postmap


@dataclass(frozen=True, slots=True)
class Chain:
    """What the login goes through.  ``write()``: why the line cannot be written, or empty.
    ``logs``: where it is to arrive, as in the settings.  ``where``: the daemon's address,
    ``socketmap``: what is spoken there.  ``patience``: seconds for each link.
    """

    marked: Marked
    write: Callable[[], str]
    logs: Sequence[str]
    map: Path
    where: str
    socketmap: bool
    places: Places
    patience: float


def links(
    chain: Chain,
    diagnosis: Callable[[], str],
    *,
    revoke: Callable[[], object] | None = None,
    window: float = 0.0,
) -> Iterator[Link]:
    """The links in their order.

    ``diagnosis``: what the daemon tells of a line that it did not grant.  ``revoke`` ends the
    grant; without it, it ends by itself ``window`` seconds after the login.
    """
    marked, address, patience = chain.marked, chain.marked.address, chain.patience
    asked = partial(answers, chain.where, address, socketmap=chain.socketmap)
    limit = f"within {patience:g} s"
    yield Link(
        "before",
        partial(asked, "absent"),
        f"{chain.where} says that {address} may not relay",
        f"{chain.where} does not say that {address} may not relay",
        lambda: f"pbs-watch why {address}; pbs-watch doctor",
        patience,
    )
    starts = _sizes(chain.logs)
    trouble: list[str] = []

    def written() -> bool:
        trouble[:] = [chain.write()]
        return not trouble[0]

    yield Link(
        "written",
        written,
        f"{TAG}: {marked.message}",
        "syslog does not take the line",
        lambda: f"{trouble[0]}; start the syslog daemon",
        0.0,
    )
    yield Link(
        "log",
        lambda: _arrived(chain, starts),
        f"it is in {', '.join(chain.logs)}",
        f"it is not in {', '.join(chain.logs)} {limit}",
        lambda: "see where the syslog daemon writes mail.info: pbs-watch doctor, grep selftest",
        patience,
        "" if starts or _journals(chain.logs) else "standard input is the daemon's alone",
    )
    yield Link(
        "answered",
        partial(asked, "found"),
        f"{chain.where} says that {address} may relay",
        f"{chain.where} does not say that {address} may relay, {limit}",
        diagnosis,
        patience,
    )
    yield Link(
        "map",
        lambda: _in_map(chain.map, address),
        f"{chain.map} holds the grant",
        f"{chain.map} does not hold the grant {limit}",
        lambda: "pbs-watch status: can the daemon write its map?",
        patience,
    )
    yield from _postfix(chain)
    if revoke is not None:
        yield _over(chain, revoke)
    else:
        yield Link(
            "over",
            partial(asked, "absent"),
            f"the window of {window:g} s is over: {address} may not relay",
            f"{address} may still relay {window + patience:g} s later",
            lambda: "look at the clock: was it set back?",
            window + patience,
        )


def _over(chain: Chain, revoke: Callable[[], object]) -> Link:
    began: list[float] = []

    def over() -> bool:
        if not began:
            revoke()
            began.append(time.monotonic())
        return answers(chain.where, chain.marked.address, "absent", socketmap=chain.socketmap)

    return Link(
        "over",
        over,
        f"revoked: {chain.marked.address} may not relay",
        f"revoked, and {chain.marked.address} may still relay {chain.patience:g} s later",
        lambda: f"pbs-watch why {chain.marked.address}",
        chain.patience,
    )


def _postfix(chain: Chain) -> Iterator[Link]:
    """What Postfix's own tool is told, by each table that asks here."""
    config = chain.places.postfix or chain.places.below("/etc/postfix")
    tables: list[str] = []
    if shutil.which("postmap") is not None or Path("/usr/sbin/postmap").exists():
        ours = Ours(*(((), (chain.where,)) if chain.socketmap else ((chain.where,), ())))
        met = smtp(mail.facts(chain.places), ours)
        tables = [
            one.text.removeprefix("proxy:")
            for one in used(met)
            if not one.where.startswith("unix:")
        ] or [_table(chain)]
    for name in dict.fromkeys(tables) or [""]:
        yield Link(
            "postfix",
            partial(postmap, config, chain.marked.address, name),
            f"postmap -q {chain.marked.address} {name} finds it",
            f"postmap -q {chain.marked.address} {name} does not find it",
            lambda: "pbs-watch doctor: postfix-tables, postfix-lookup",
            chain.patience,
            "" if name else "there is no postmap on this host",
        )


def _table(chain: Chain) -> str:
    if not chain.socketmap:
        return f"tcp:{chain.where}"
    unix = chain.where.startswith("unix:")
    return f"socketmap:{chain.where if unix else f'inet:{chain.where}'}:relay"


def _journals(logs: Sequence[str]) -> bool:
    return any(name.startswith(PREFIX) for name in logs)


def _sizes(logs: Sequence[str]) -> dict[str, int]:
    """How long the followed files are now: what is searched comes after it."""
    found = {}
    for name in logs:
        if name != "-" and not name.startswith(PREFIX):
            try:
                found[name] = Path(name).stat().st_size
            except OSError:
                found[name] = 0
    return found


def _arrived(chain: Chain, starts: dict[str, int]) -> bool:
    message = chain.marked.message
    for name, start in starts.items():
        try:
            with Path(name).open("rb") as log:
                # Rotated meanwhile, it is shorter and read from its beginning.
                log.seek(start if os.fstat(log.fileno()).st_size >= start else 0)
                if message.encode() in log.read():
                    return True
        except OSError:
            continue
    return _journals(chain.logs) and journal_has(message, TAG)


def _in_map(path: Path, address: str) -> bool:
    try:
        with closing(Map(path, "read")) as grants:
            return grants.allows(address.encode(), time.time())
    except MapError:
        return False
