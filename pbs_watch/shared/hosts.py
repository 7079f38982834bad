"""The other hosts, as the daemon's loop has them: none, or an engine that is asked and told.

What the settings make of it, and how it changes with them while the daemon runs.  Nothing here
waits: threads of an engine that is used no more end by themselves, and are waited for at the end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from pbs_watch.answer.lookup import Lookup
from pbs_watch.answer.server import Question, Server
from pbs_watch.config import Config
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.store import Map
from pbs_watch.notices import Notices
from pbs_watch.shared.asking import Asker
from pbs_watch.shared.counts import Counts
from pbs_watch.shared.express import Express
from pbs_watch.shared.open import engine
from pbs_watch.shared.sending import Sender
from pbs_watch.shared.sharing import Manner, Sharing, Threads
from pbs_watch.shared.switch import switch
from pbs_watch.shared.where import Where, where
from pbs_watch.trail import Trail

_GATHERED = 10
"""Which part of its linger a question may be asked earlier, together with others."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say of sharing; ``place``: the engine, ``None``: none."""

    place: Where | None
    host: str = ""
    window: float = 0.0
    manner: Manner | None = None

    @classmethod
    def of(cls, config: Config) -> Wanted:
        """Reads the files that the settings name; raises :class:`~pbs_watch.errors.ConfigError`."""
        if not config.shared:
            return cls(None)
        manner = Manner(config.shared_linger, config.shared_deadline, config.shared_trouble)
        host = config.shared_host or socket.gethostname()
        return cls(where(config), host, config.window, manner)


class Hosts:
    """Whoever shares grants with this host.

    ``policy`` gives the present one; ``committing`` is called when something is to be committed
    soon; ``later`` has the map's writer do something.  Raises ConfigError, and MapError; that the
    engine cannot be reached is no reason to end.
    """

    def __init__(
        self,
        config: Config,
        grants: Map,
        pending: Pending,
        *,
        server: Server,
        lookup: Lookup,
        policy: Callable[[], Policy],
        committing: Callable[[], None],
        later: Callable[[Callable[[], None]], None],
        notices: Notices,
        trail: Trail,
    ) -> None:
        self._map = grants
        self._pending = pending
        self._server = server
        self._lookup = lookup
        self._policy = policy
        self._committing = committing
        self._later = later
        self._notices = notices
        self._trail = trail
        self._retired: list[Sharing] = []
        self._wanted = Wanted.of(config)
        self._sharing = self._made(self._wanted)
        switch(grants, self._wanted.host)
        pending.share(sharing=self.shares)
        self.ended = True
        """Whether no thread of ours uses the map, once all is closed."""

    def _made(self, wanted: Wanted) -> Sharing | None:
        if wanted.place is None or wanted.manner is None:
            return None
        told, asked, hurried = (engine(wanted.place, wanted.window) for _ in range(3))
        express, wake = Express(hurried), self._server.wake
        sender = Sender(self._map, told, express, window=wanted.window, host=wanted.host, wake=wake)
        asker = Asker(asked, wake, gather=wanted.manner.linger / _GATHERED)
        return Sharing(
            self._map,
            self._pending,
            self._server,
            Threads(asker, sender, express),
            name=str(wanted.place),
            manner=wanted.manner,
            policy=self._policy,
            decide=self._lookup.decide,
            ask=self._lookup.ask,
            cannot_say=self._lookup.cannot_say,
            committing=self._committing,
            notices=self._notices,
            trail=self._trail,
        )

    def begin(self) -> None:
        """Start asking and telling."""
        if self._sharing is not None:
            self._sharing.begin()

    @property
    def shares(self) -> bool:
        """Whether others may know what this host does not, and are to be told at once."""
        return self._sharing is not None

    @property
    def due(self) -> float | None:
        """When :meth:`turn` has something to do by itself (monotonic seconds)."""
        return None if self._sharing is None else self._sharing.due

    @property
    def counts(self) -> Counts | None:
        """How sharing goes; ``None``: nothing is shared."""
        return None if self._sharing is None else self._sharing.counts

    def settle(self, questions: Sequence[Question]) -> None:
        """Answer questions now that the logs are drained; what is not known here is asked for."""
        if self._sharing is None:
            self._server.settle(questions, self._lookup.decide)
        else:
            self._sharing.ask(questions)

    def turn(self) -> None:
        """Send news, take in what has come, answer what has waited for too long."""
        if self._sharing is not None:
            self._sharing.turn()

    def keep_off(self, held: ExitStack) -> bool:
        """Keep our threads from the map until ``held`` ends; False: one uses it now."""
        for one in self._all():
            if not one.reading.acquire(blocking=False):
                return False
            held.callback(one.reading.release)
        return True

    def _all(self) -> list[Sharing]:
        return [*self._retired, *([] if self._sharing is None else [self._sharing])]

    # Other settings

    def prepared(self, config: Config) -> Callable[[], None]:
        """What goes by other settings when it is called; raises ConfigError, and all is as before.

        Where the engine's library is new to this process, importing it takes a tenth of a second:
        who loads the settings does that before (:func:`pbs_watch.shared.open.require`).
        """
        wanted = Wanted.of(config)
        if wanted == self._wanted:
            return lambda: None
        sharing = self._made(wanted)
        return lambda: self._change(wanted, sharing)

    def _change(self, wanted: Wanted, sharing: Sharing | None) -> None:
        was, self._sharing, self._wanted = self._sharing, sharing, wanted
        self._pending.share(sharing=self.shares)
        self.begin()
        if was is not None:
            self._retired = [*(one for one in self._retired if one.alive), was]
            self.settle(was.let_go())
        # Afterwards: the old thread writes no more that it shares, once it is to end.
        self._later(lambda: switch(self._map, wanted.host))

    # The end

    def close(self) -> None:
        """End all threads, waiting for them for a moment."""
        for one in self._all():
            self.ended = one.close() and self.ended
