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

from pbs_watch.answer.lookup import Lookup
from pbs_watch.answer.server import Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers
from pbs_watch.chain import Chain
from pbs_watch.config import Config
from pbs_watch.drain import Round, overdue
from pbs_watch.errors import MapError
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.rows import SCHEMA
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.log.clock import Clock
from pbs_watch.log.wake import Waker
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner
from pbs_watch.reading import WARN_EVERY, Reading

log = logging.getLogger("pbs_watch")

POLL_BUSY = 0.05
POLL_IDLE = 1.0
"""Seconds between two looks at the logs, while they grow and when they have not for a while."""

IDLE_AFTER = 1.0
"""Seconds without growth after which watching costs less than polling fast."""

COMMIT_AFTER = 0.1
"""Seconds that changes are collected before they are committed together."""

RETRY_AFTER = 1.0
"""Seconds before a batch that could not be committed is tried again."""

TIDY_EVERY = 10.0
"""Seconds between two sweeps; stale readers are cleared with them."""


class Service:
    """The running daemon.  Construct, :meth:`listen`, :meth:`start`, :meth:`run`."""

    def __init__(self, config: Config, formats: Sequence[Format]) -> None:
        self._config = config
        self._chain = Chain(Scanner(formats, Clock(config.zone)), config.policy())
        self._owner = Owner(config.map)
        self._map = Map(config.map, "daemon")
        if self._map.upgraded_from is not None:
            log.warning(
                "%s: the map had schema %s, upgraded to %s",
                config.map,
                self._map.upgraded_from,
                SCHEMA.decode(),
            )
        self._pending = Pending()
        self._reading = Reading(config, self._chain, self._pending)
        lookup = Lookup(self._map, self._pending, time, self._map_trouble)
        self._decide = lookup.decide
        self._server = Server(
            lookup.ask,
            Answers(config.answer, config.trouble),
            allow_remote=config.allow_remote,
            report=log.warning,
        )
        self._writer = Writer(self._map, self._server.wake)
        self._waker = Waker(self._reading.files, self._log_changed, log.info)
        self._watched: set[int] = set()
        self._round: Round | None = None
        self._stopping = False
        self._unwritten = ""
        self._unread_said = -WARN_EVERY
        self._grown = self._looked = self._tidied = monotonic()
        self._mend_again = 0.0
        self._commit_at: float | None = None

    def listen(self) -> list[str]:
        """Bind the sockets; returns where they listen.  Raises :class:`ListenError`."""
        bound = []
        for where in self._config.listening():
            bound.append(self._server.listen_tcp_table(where))
            log.info("listening: tcp_table %s", bound[-1])
        for where in self._config.socketmap:
            bound.append(self._server.listen_socketmap(where))
            log.info("listening: socketmap %s", bound[-1])
        return bound

    def start(self) -> None:
        """Find the place in each log where reading goes on; raises :class:`MapError`."""
        self._reading.start(self._map.sources())

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
        if self._pending.committing:
            self._collect_commit(now)
        if self._server.waiting and self._round is None:
            self._begin_round(now, fresh=fresh)
        elif now - self._looked >= self._poll_after(now):
            self._look(now)
        if self._reading.behind:
            self._read(now)
        if self._round is not None:
            self._end_round(self._round)
        if self._map.broken:
            self._mend(now)
        self._commit_when_due(now)
        self._tidy_when_due(now)

    def _poll_after(self, now: float) -> float:
        return POLL_IDLE if now - self._grown > IDLE_AFTER else POLL_BUSY

    def _timeout(self) -> float:
        """Seconds that may be waited for sockets."""
        if self._server.waiting or self._reading.behind:
            return 0.0
        now = monotonic()
        until = self._looked + self._poll_after(now)
        if self._commit_at is not None and not self._pending.committing:
            until = min(until, self._commit_at)
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
        self._reading.read(now, self._round)
        if self._commit_at is None:
            self._commit_at = now + COMMIT_AFTER

    # Lookups

    def _begin_round(self, now: float, *, fresh: bool) -> None:
        questions = self._server.take_waiting()
        self._look(now)
        if self._reading.blind or self._reading.far_behind:
            self._server.settle(questions, self._cannot_say)
        elif self._reading.behind:
            self._round = Round(questions, self._reading.waiting)
        else:
            # Looked up a moment ago, and nothing has come since: no need to look again.
            self._server.settle(questions, _absent if fresh else self._decide)

    def _end_round(self, current: Round) -> None:
        if current.over:
            self._round = None
            decide = self._cannot_say if self._reading.unsure else self._decide
            self._server.settle(current.questions, decide)
            return
        now = monotonic()
        late = [*current.overdue(now), *overdue(self._server.waiting, now)]
        self._server.settle(late, self._cannot_say)

    def _cannot_say(self, key: bytes) -> Verdict:
        """What is known already is still said; only "not found" turns into "cannot say"."""
        verdict = self._decide(key)
        return Verdict.UNKNOWN if verdict is Verdict.ABSENT else verdict

    # The map

    def _commit_when_due(self, now: float) -> None:
        if self._commit_at is None or now < self._commit_at or self._pending.committing:
            return
        self._commit_at = None
        self._reading.save()
        if self._pending.making:
            self._writer.commit(self._pending.hand_over())

    def _collect_commit(self, now: float) -> None:
        ended, error = self._writer.result()
        if not ended:
            return
        if error is None:
            self._pending.committed()
            if self._unwritten:
                self._unwritten = ""
                log.warning("%s: can be written again", self._config.map)
            return
        self._pending.failed()
        self._commit_at = now + RETRY_AFTER
        if str(error) != self._unwritten:
            self._unwritten = str(error)
            log.error("%s", error)

    def _mend(self, now: float) -> None:
        """Open the map again, while the writer has nothing to do with it."""
        if self._pending.committing or self._writer.tidying or now < self._mend_again:
            return
        try:
            self._map.reopen()
        except MapError as error:
            self._mend_again = now + RETRY_AFTER
            self._map_trouble(error)

    def _map_trouble(self, error: MapError) -> None:
        """The map cannot be read: said once a minute at most, however many lookups meet it."""
        now = monotonic()
        if now - self._unread_said >= WARN_EVERY:
            self._unread_said = now
            log.error("%s", error)

    def _tidy_when_due(self, now: float) -> None:
        if now - self._tidied >= TIDY_EVERY:
            self._tidied = now
            self._writer.tidy(time())
            if self._config.never:
                # The host's own addresses and its gateway may have changed.
                self._chain.policy = self._config.policy()

    # The end

    def _finish(self) -> None:
        """Read on to where the logs end now, for a second at most, and commit."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # a second one ends us at once
        deadline = monotonic() + 1.0
        self._look(monotonic())
        while self._reading.behind and monotonic() < deadline:
            self._read(monotonic())
        error = self._finish_commit()
        self._reading.save()
        if self._pending.making and not self._writer.stuck:
            self._writer.commit(self._pending.hand_over())
            error = self._writer.wait()
        if error is not None:
            log.error("%s; what is not written is read again at the next start", error)

    def _finish_commit(self) -> MapError | None:
        """Wait for the commit that is going on, and return its error if it is the last one."""
        if not self._pending.committing:
            return None
        error = self._writer.wait()
        if error is None:
            self._pending.committed()
        else:
            self._pending.failed()
        return error if self._writer.stuck else None

    def close(self) -> None:
        """Close everything, whatever becomes of one of it."""
        with ExitStack() as closing:
            closing.callback(self._owner.release)
            closing.callback(self._close_map)
            closing.callback(self._reading.close)
            closing.callback(self._server.close)
            closing.callback(self._writer.close)
            closing.callback(self._waker.close)

    def _close_map(self) -> None:
        if not self._writer.stuck:  # it would be pulled away from under the thread
            self._map.close()


def _absent(_key: bytes) -> Verdict:
    return Verdict.ABSENT
