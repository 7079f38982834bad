"""The daemon: follows, judges, commits and answers, in one loop.

The only module that wires following, answering and the map together.  Nothing in the loop waits for
a disk write, a resolver or a peer: the writer commits in its own thread, the server's sockets never
block, and the log is read in slices, so that a backlog delays no lookup that needs none of it.
"""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic, time

from pbs_watch import live
from pbs_watch.answer.lookup import Lookup, Rules
from pbs_watch.answer.server import Question, Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers
from pbs_watch.chain import Chain
from pbs_watch.commits import Commits
from pbs_watch.config import Config
from pbs_watch.drain import Round, overdue
from pbs_watch.errors import ListenError, MapError
from pbs_watch.grants.acts import acts_after, last_told
from pbs_watch.grants.changes import Refusal, RefusalKey
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.relays import Relays
from pbs_watch.grants.rows import SCHEMA
from pbs_watch.grants.standing import Known
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.kernel import Kernel
from pbs_watch.live import Live
from pbs_watch.log.clock import Clock
from pbs_watch.log.wake import Waker
from pbs_watch.notices import Notices
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner
from pbs_watch.reading import Reading
from pbs_watch.shared.start import sharing_of
from pbs_watch.trail import Trail
from pbs_watch.witness import Holding, witness_of

log = logging.getLogger("pbs_watch")

POLL_BUSY = 0.05
POLL_IDLE = 1.0
"""Seconds between two looks at the logs, while they grow and when they have not for a while."""

POLL_SHARED = 0.01
"""Seconds between two looks where other hosts are to know of a login at once: an event that wakes
us may be half a second late, and nobody asks us for it."""

IDLE_AFTER = 1.0
"""Seconds without growth after which watching costs less than polling fast."""

TIDY_EVERY = 10.0
"""Seconds between two sweeps; stale readers are cleared with them."""


class Service:
    """The running daemon.  Construct, :meth:`listen`, :meth:`start`, :meth:`run`."""

    def __init__(self, config: Config, formats: Sequence[Format]) -> None:
        self._config = config
        self._notices = Notices()
        self._trail = Trail(None if config.audit == "off" else config.audit, self._notices)
        self._owner = Owner(config.map)
        self._map = _opened(config)
        self._pending = Pending(sharing=bool(config.shared))
        self._witness = witness_of(config.witness, config.witness_ports, self._notices)
        standing = Known(self._map, self._pending.changes, self._witness)
        scanner = Scanner(formats, Clock(config.zone))
        self._chain = Chain(scanner, config.policy(), standing)
        self._chain.counts.hits.update(dict.fromkeys((fmt.name for fmt in formats), 0))
        self._reading = Reading(
            config,
            self._chain,
            self._pending,
            grants=self._map,
            notices=self._notices,
            trail=self._trail,
        )
        self._relays = Relays(*config.relay_limit) if config.relay_limit else None
        self._lookup = Lookup(self._map, self._pending, time, self._map_trouble, self._rules())
        self._live = Live(
            config,
            self._map,
            reading=self._reading,
            counts=self._chain.counts,
            lookup=self._lookup,
            notices=self._notices,
            shared=lambda: None if self._shared is None else self._shared.counts,
        )
        self._server = Server(
            self._lookup.ask,
            Answers(config.answer, config.trouble),
            asides={live.NAME: self._live.answer},
            allow_remote=config.allow_remote,
            report=log.warning,
        )
        self._writer = Writer(self._map, self._server.wake)
        self._commits = Commits(
            self._map,
            self._pending,
            self._writer,
            save=self._reading.save,
            trouble=self._map_trouble,
            notices=self._notices,
        )
        self._shared = sharing_of(
            config,
            self._map,
            self._pending,
            server=self._server,
            lookup=self._lookup,
            policy=lambda: self._chain.policy,
            committing=self._commits.soon,
            notices=self._notices,
        )
        self._waker = Waker(self._reading.files, self._log_changed, log.info)
        self._holding = self._watch_sessions()
        self._watched: set[int] = set()
        self._round: Round | None = None
        self._stopping = False
        self._grown = self._looked = self._tidied = monotonic()
        self._told = self._obeyed = 0
        self._sharing_ended = True

    def _watch_sessions(self) -> Holding | None:
        """Who looks for sessions whose connection is gone."""
        if self._config.witness == "off":
            return None
        return Holding(
            Kernel(self._config.witness_ports),
            lambda: self._map.sessions(time()),
            self._server.wake,
            self._notices,
        )

    def _rules(self) -> Rules:
        """What becomes of lookups that find a grant."""
        over = self._config.over_relay_limit
        return Rules(
            relays=self._relays,
            limited=Verdict.UNKNOWN if over == "trouble" else Verdict.ABSENT,
            tell_limited=self._limited,
            shadow=self._config.shadow,
            tell_shadow=lambda address, verdict: self._trail.shadowed(address, verdict, time()),
        )

    def listen(self) -> list[str]:
        """Bind the sockets; returns where they listen.  Raises :class:`ListenError`."""
        bound = []
        for where in self._config.listening():
            bound.append(self._server.listen_tcp_table(where))
            log.info("listening: tcp_table %s", bound[-1])
        for where in self._config.socketmap:
            bound.append(self._server.listen_socketmap(where))
            log.info("listening: socketmap %s", bound[-1])
        try:
            self._server.listen_live(self._config.map / live.SOCKET)
        except ListenError as error:
            # Nobody's mail depends on it.
            self._notices.warn("live", f"{error}; status and top cannot ask")
        return bound

    def start(self) -> None:
        """Find the place in each log where reading goes on; raises :class:`MapError`."""
        self._reading.obey()
        with self._map.reading() as tables:
            self._told = last_told(tables)
        self._reading.start(self._map.sources())
        if self._holding is not None:
            self._holding.begin()
        if self._shared is not None:
            self._shared.begin()

    def stop(self) -> None:
        """End the loop soon; may be called from a signal handler."""
        self._stopping = True
        self._server.wake()

    def run(self) -> None:
        """Serve until :meth:`stop`, then read what the logs hold, commit and close."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        # What exists now stays: the collector need not look through it again and again.
        gc.freeze()
        log.info("ready")
        try:
            while not self._stopping:
                self.turn()
            self._finish()
        finally:
            self.close()

    def turn(self, longest: float | None = None) -> None:
        """Do what is to be done now, after waiting for at most ``longest`` seconds for more."""
        # Questions that arrive in this poll were looked up after all that has been read.
        fresh = not self._server.waiting
        self._server.poll(self._timeout() if longest is None else longest)
        now = monotonic()
        self._commits.collect(now)
        if self._server.waiting and self._round is None:
            self._begin_round(now, fresh=fresh)
        elif now - self._looked >= self._poll_after(now):
            self._reading.obey()  # lookups do so by themselves
            self._look(now)
        if self._reading.behind:
            self._read(now)
        if self._round is not None:
            self._end_round(self._round)
        if self._shared is not None:
            self._shared.turn()
        if self._map.broken:
            self._mend(now)
        if self._holding is not None:
            self._close_sessions()
        if self._map.orders.version != self._obeyed:
            self._tell_acts()
        self._commits.begin(now)
        self._tidy_when_due(now)

    def _poll_after(self, now: float) -> float:
        if self._shared is not None:
            return POLL_SHARED
        return POLL_IDLE if now - self._grown > IDLE_AFTER else POLL_BUSY

    def _timeout(self) -> float:
        """Seconds that may be waited for sockets."""
        if self._server.waiting or self._reading.behind:
            return 0.0
        if self._holding is not None and self._holding.waiting:
            return 0.0
        now = monotonic()
        until = self._looked + self._poll_after(now)
        if (due := self._commits.due) is not None:
            until = min(until, due)
        if self._shared is not None and (due := self._shared.due) is not None:
            until = min(until, due)
        return max(until - now, 0.0)

    # The logs

    def _look(self, now: float) -> None:
        self._looked = now
        if self._reading.look(now):
            self._grown = now
            self._waker.disarm()
        elif now - self._grown > IDLE_AFTER:
            self._waker.arm()
        if self._round is not None:
            self._round.seen(self._reading.waiting)
        if self._reading.has_pipes:
            self._watch_pipes()

    def _look_soon(self) -> None:
        """A pipe or a log has something to read."""
        self._looked = 0.0

    def _log_changed(self) -> None:
        """Told by another thread; a look that goes on already sees what has changed."""
        self._look_soon()
        self._server.wake()

    def _watch_pipes(self) -> None:
        """Keep to the descriptors of the pipes, which change when journalctl is started again."""
        wanted = self._reading.descriptors
        if wanted != self._watched:
            for descriptor in self._watched - wanted:
                self._server.unwatch(descriptor)
            for descriptor in wanted - self._watched:
                self._server.watch(descriptor, self._look_soon)
            self._watched = wanted

    def _read(self, now: float) -> None:
        if self._witness is not None:
            self._witness.refresh()
        self._reading.read(now, self._round)
        self._commits.soon()

    # Lookups

    def _begin_round(self, now: float, *, fresh: bool) -> None:
        questions = self._server.take_waiting()
        self._look(now)
        if self._reading.blind or self._reading.far_behind:
            self._server.settle(questions, self._lookup.cannot_say)
        elif self._reading.behind:
            self._round = Round(questions, self._reading.waiting)
        else:
            self._settle(questions, fresh=fresh)

    def _end_round(self, current: Round) -> None:
        if current.over:
            self._round = None
            if self._reading.unsure:
                self._server.settle(current.questions, self._lookup.cannot_say)
            else:
                self._settle(current.questions)
            return
        now = monotonic()
        late = [*current.overdue(now), *overdue(self._server.waiting, now)]
        self._server.settle(late, self._lookup.cannot_say)

    def _settle(self, questions: list[Question], *, fresh: bool = False) -> None:
        """Answer questions now that the logs are drained; what is not known here is asked for."""
        if self._shared is not None:
            self._shared.ask(questions)
        else:
            # Looked up a moment ago, and nothing has come since: no need to look again.
            decide = self._lookup.absent if fresh else self._lookup.decide
            self._server.settle(questions, decide)

    def _limited(self, address: bytes, user: bytes) -> None:
        """A user relays more than he may."""
        now = time()
        self._trail.limited(address, user, now)
        self._pending.making.refuse(
            RefusalKey(address, "relay_limit", user), Refusal(now, now, 1, b"", 0, 0, 0)
        )
        self._commits.soon()

    # The kernel

    def _close_sessions(self) -> None:
        """End the sessions whose connection is gone, unless they began anew meanwhile."""
        for gone in self._holding.gone() if self._holding is not None else ():
            if gone.key in self._pending.sessions(gone.address):
                continue
            try:
                if self._map.session(gone.address, gone.key) != gone.hold:
                    continue
            except MapError as error:
                self._map_trouble(error)
                continue
            self._pending.making.session(gone.address, gone.key, None)
            self._trail.gone(gone, time())
            self._commits.soon()

    # The map

    def _map_trouble(self, error: MapError) -> None:
        """The map cannot be read: said once a minute at most, however many lookups meet it."""
        self._notices.warn("map", str(error), level=logging.ERROR)

    def _mend(self, now: float) -> None:
        """Open a broken map again, while no other thread reads it."""
        with ExitStack() as held:
            for thread in (self._holding, self._shared):
                if thread is not None:
                    if not thread.reading.acquire(blocking=False):
                        return
                    held.callback(thread.reading.release)
            self._commits.mend(now)

    def _tidy_when_due(self, now: float) -> None:
        self._trail.over(self._writer.over())
        if now - self._tidied >= TIDY_EVERY:
            self._tidied = now
            self._writer.tidy(time())
            self._tell_acts()
            if self._relays is not None:
                self._relays.tidy(time())
            self._lookup.asked.forget_before(time() - self._config.retention)
            if self._config.never:
                # The host's own addresses and its gateway may have changed.
                self._refresh_policy()

    def _refresh_policy(self) -> None:
        try:
            self._chain.policy = self._config.policy()
        except (OSError, ValueError, IndexError) as error:
            # No descriptor left, mostly: the addresses of a moment ago are as good.
            self._notices.warn("policy", f"never: own and gateway cannot be looked up ({error})")

    def _tell_acts(self) -> None:
        """Add to the audit trail what the operator has done meanwhile."""
        self._obeyed = self._map.orders.version
        try:
            with self._map.reading() as tables:
                acts = acts_after(tables, self._told)
        except MapError as error:
            self._map_trouble(error)
            return
        if acts:
            self._trail.acts(acts)
            self._told = self._pending.making.told = acts[-1].number
            if any(act.what == "forget" for act in acts):
                self._lookup.asked.forget()
                if self._relays is not None:
                    self._relays.forget()
            self._commits.soon()

    # The end

    def _finish(self) -> None:
        """Read on to where the logs end now, for a second at most, and commit."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # a second one ends us at once
        deadline = monotonic() + 1.0
        self._look(monotonic())
        while self._reading.behind and monotonic() < deadline:
            self._read(monotonic())
        self._commits.finish()

    def close(self) -> None:
        """Close everything, whatever becomes of one of it."""
        with ExitStack() as closing:
            closing.callback(self._owner.release)
            closing.callback(self._close_map)
            closing.callback(self._reading.close)
            closing.callback(self._server.close)
            closing.callback(self._writer.close)
            if self._shared is not None:
                closing.callback(self._end_sharing)
            closing.callback(self._waker.close)
            if self._holding is not None:
                closing.callback(self._holding.close)
            if self._witness is not None:
                closing.callback(self._witness.close)

    def _end_sharing(self) -> None:
        self._sharing_ended = self._shared is None or self._shared.close()

    def _close_map(self) -> None:
        # Or it would be pulled away from under a thread.
        if not self._writer.stuck and self._sharing_ended:
            self._map.close()


def _opened(config: Config) -> Map:
    """The daemon's map, of today's schema; raises :class:`MapError`."""
    grants = Map(config.map, "daemon", config.retention)
    if grants.upgraded_from is not None:
        was, now = grants.upgraded_from, SCHEMA.decode()
        log.warning("%s: the map had schema %s, upgraded to %s", config.map, was, now)
    return grants
