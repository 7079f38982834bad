"""Makes what the daemon needs for sharing, out of its settings."""

from __future__ import annotations

import socket
from collections.abc import Callable

from pbs_watch.answer.lookup import Lookup
from pbs_watch.answer.server import Server
from pbs_watch.config import Config
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.store import Map
from pbs_watch.notices import Notices
from pbs_watch.shared.asking import Asker
from pbs_watch.shared.express import Express
from pbs_watch.shared.open import engine
from pbs_watch.shared.sending import Sender
from pbs_watch.shared.sharing import Sharing, Threads, switched
from pbs_watch.shared.where import where

_GATHERED = 10
"""Which part of its linger a question may be asked earlier, together with others."""


def sharing_of(
    config: Config,
    grants: Map,
    pending: Pending,
    *,
    server: Server,
    lookup: Lookup,
    policy: Callable[[], Policy],
    committing: Callable[[], None],
    notices: Notices,
) -> Sharing | None:
    """The loop's side of sharing; ``None`` where grants are not shared.

    Raises :class:`~pbs_watch.errors.ConfigError` and :class:`~pbs_watch.errors.MapError`; that the
    engine cannot be reached is no reason to end.
    """
    if not config.shared:
        switched(grants, "")
        return None
    place = where(config)
    host = config.shared_host or socket.gethostname()
    told, asked, hurried = (engine(place, config.window) for _ in range(3))
    express = Express(hurried)
    sender = Sender(grants, told, express, window=config.window, host=host, wake=server.wake)
    asker = Asker(asked, server.wake, gather=config.shared_linger / _GATHERED)
    threads = Threads(asker, sender, express)
    switched(grants, host)
    return Sharing(
        grants,
        pending,
        server,
        threads,
        name=str(place),
        policy=policy,
        decide=lookup.decide,
        ask=lookup.ask,
        cannot_say=lookup.cannot_say,
        deadline=config.shared_deadline,
        linger=config.shared_linger,
        trouble=config.shared_trouble,
        committing=committing,
        notices=notices,
    )
