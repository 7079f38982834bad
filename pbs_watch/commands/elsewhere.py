"""What the engine of the shared grants knows of an address that this host's map does not know.

A lookup of such an address is asked there too; what is found counts by this host's own orders and
settings, as for the daemon (:mod:`pbs_watch.shared.keep`).  It is only looked at here: nothing is
kept.  Takes a round trip, and about a second for each server that does not answer.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from pbs_watch.config import Config
from pbs_watch.durations import local
from pbs_watch.errors import PbsWatchError
from pbs_watch.escape import printable, shown
from pbs_watch.grants.changes import Changes
from pbs_watch.grants.hand import shares
from pbs_watch.grants.store import Map
from pbs_watch.shared.engine import Shared


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """``by``: the login that lasts longest and counts here, ``None``: none does.  ``void``: there
    is one which orders or settings of this host are against.  ``error``: why the engine could not
    be asked, or empty.
    """

    engine: str = ""
    by: Shared | None = None
    void: bool = False
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"the engine cannot be asked ({printable(self.error)})"
        if self.by is None:
            void = ", but orders or settings of this host are against it"
            return f"{f'granted there{void}' if self.void else 'not known there'} ({self.engine})"
        until = "permanently" if self.by.expires is None else f"until {local(self.by.expires)}"
        return f"granted by another host ({self.engine}) {until}, by {by_whom(self.by)}"

    def fields(self) -> dict[str, object]:
        """As JSON takes it."""
        by = self.by
        return {
            "engine": self.engine or None,
            "granted": by is not None,
            "user": None if by is None else shown(by.user),
            "service": None if by is None else shown(by.service),
            "login": None if by is None else by.login or None,
            "until": None if by is None else by.expires,
            "error": self.error or None,
        }


def by_whom(login: Shared) -> str:
    """Whose login it is; the old layout's table tells neither names nor times."""
    if not login.login:
        return "a permanent row of the table authpfix"
    user = shown(login.user) or "somebody"
    return f"a login of {user} ({shown(login.service)}), {local(login.login)}"


def look(config: Config, grants: Map, address: bytes, now: float) -> Elsewhere | None:
    """Ask for a canonical ``address``; ``None``: the daemon of this map shares with nobody."""
    if not shares(grants):
        return None
    if not config.shared:
        return Elsewhere(error="the settings name none; say --config FILE, as the daemon's")
    from pbs_watch.shared import open as opening  # noqa: PLC0415 - only where hosts share
    from pbs_watch.shared.asking import asked  # noqa: PLC0415
    from pbs_watch.shared.keep import keep  # noqa: PLC0415
    from pbs_watch.shared.where import where  # noqa: PLC0415

    try:
        place = where(config)
        with closing(opening.engine(place, config.window)) as engine:
            found = asked(engine, [address], now)
        kept = keep(found, grants.obey(), config.policy(), now, Changes())
    except PbsWatchError as error:
        return Elsewhere(error=str(error))
    there = {(one.address, one.user): one for logins in found.logins.values() for one in logins}
    if not kept:
        return Elsewhere(str(place), void=bool(there))
    by = max(kept, key=lambda one: one.expires or 0.0)
    for one in kept:
        raw = there.get((one.address, one.user))
        if raw is not None and raw.expires is None:
            by = raw
    return Elsewhere(str(place), by)
