"""The loop: follows, judges, commits and answers, turn by turn.

The only module that wires following, answering and the map together; what becomes of the process
(signals, systemd, a start that fails) is :mod:`pbs_watch.daemon`.  Nothing in the loop waits for a
disk write, a resolver or a peer: the writer commits in its own thread, the server's sockets never
block, and the log is read in slices, so that a backlog delays no lookup that needs none of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from socket import socket
from time import monotonic, time

from pbs_watch import live
from pbs_watch.answer.latency import Latency
from pbs_watch.answer.lookup import Lookup, Rules
from pbs_watch.answer.server import Protocol, Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers
from pbs_watch.chain import Chain
from pbs_watch.commits import Commits
from pbs_watch.config import RESTART, Config
from pbs_watch.errors import ListenError, MapError
from pbs_watch.grants import hand
from pbs_watch.grants.changes import Refusal, RefusalKey
from pbs_watch.grants.copy import adopt
from pbs_watch.grants.owner import Owner
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.relays import Relays
from pbs_watch.grants.rows import SCHEMA
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.handover import Handed
from pbs_watch.live import Live
from pbs_watch.log.clock import Clock
from pbs_watch.looks import Looks
from pbs_watch.notices import Notices
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner
from pbs_watch.ports import Ports
from pbs_watch.reading import Reading
from pbs_watch.rounds import Rounds
from pbs_watch.sessions import Sessions
from pbs_watch.shared.hosts import Hosts
from pbs_watch.shared.open import require
from pbs_watch.tidying import Tidying
from pbs_watch.trail import Trail
from pbs_watch.waits import Waits

log = logging.getLogger("pbs_watch")


AT_ONCE = 16 << 10
"""Bytes of log that are read before the hits which arrived together with a miss are answered: less
than a millisecond's reading."""

Connections = Sequence[tuple[socket, Protocol]]
"""Open connections, and what they speak."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what was made of the pattern files that they name.

    ``formats``: their names.
    """

    config: Config
    scanner: Scanner
    formats: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, formats: Sequence[Format]) -> Loaded:
        """Compile what is to be looked for: some 10 ms and more.

        Raises :class:`~pbs_watch.errors.ConfigError` where the engine of shared grants cannot be.
        """
        require(config)
        return cls(config, Scanner(formats, Clock(config.zone)), tuple(one.name for one in formats))


class Service:
    """The running daemon.  Construct, :meth:`listen`, :meth:`start`, then :meth:`turn` by turn."""

    def __init__(self, config: Config, formats: Sequence[Format] | Loaded) -> None:
        loaded = formats if isinstance(formats, Loaded) else Loaded.of(config, formats)
        self._config = config
        self._notices = Notices()
        self._trail = Trail(None if config.audit == "off" else config.audit, self._notices)
        self._pending = Pending()
        with ExitStack() as opened:
            self._owner = Owner(config.map)
            opened.callback(self._owner.release)
            self._map = _opened(config)
            opened.callback(self._close_map)
            self._chain = Chain(loaded.scanner, config.policy())
            self._count_formats(loaded)
            self._reading = self._new_reading(config)
            opened.callback(self._reading.close)
            self._lookup = self._new_lookup(config)
            watched = config.metrics is not None or config.metrics_file is not None
            self._latency = Latency() if watched else None
            self._server = self._new_server(config)
            opened.callback(self._server.close)
            self.wake = self._server.wake
            """Ends the wait of a turn; for other threads and signal handlers."""
            self._ports = Ports(self._server)
            self._writer = Writer(self._map, self.wake)
            opened.callback(self._writer.close)
            self._commits = Commits(
                self._map,
                self._pending,
                self._writer,
                save=self._reading.save,
                notices=self._notices,
            )
            self.live = self._new_live(config)
            self._sessions = self._new_sessions(config)
            opened.callback(self._close_sessions)
            self._chain.standing = self._sessions.standing
            self._looks = Looks(self._reading, self._server)
            opened.callback(self._looks.close)
            self._hosts = self._new_hosts(config)
            opened.callback(self._hosts.close)
            self._looks.shared = self._hosts.shares
            self._rounds = self._new_rounds(config)
            opened.callback(self._rounds.close)
            self._tidying = Tidying(
                config,
                self._map,
                self._pending,
                writer=self._writer,
                commits=self._commits,
                chain=self._chain,
                lookup=self._lookup,
                live=self.live,
                trail=self._trail,
                notices=self._notices,
            )
            self._closing = opened.pop_all()

    def _new_reading(self, config: Config) -> Reading:
        return Reading(
            config,
            self._chain,
            self._pending,
            grants=self._map,
            notices=self._notices,
            trail=self._trail,
        )

    def _new_lookup(self, config: Config) -> Lookup:
        return Lookup(
            self._map,
            self._pending,
            time,
            self._notices.map_trouble,
            self._rules(config),
            drained=self._drained,
        )

    def _new_live(self, config: Config) -> Live:
        return Live(
            config,
            self._map,
            reading=self._reading,
            counts=self._chain.counts,
            lookup=self._lookup,
            notices=self._notices,
            commits=self._commits,
            latency=self._latency,
            shared=lambda: self._hosts.counts,
        )

    def _new_hosts(self, config: Config) -> Hosts:
        return Hosts(
            config,
            self._map,
            self._pending,
            server=self._server,
            lookup=self._lookup,
            policy=lambda: self._chain.policy,
            committing=self._commits.soon,
            later=self._writer.call,
            notices=self._notices,
            trail=self._trail,
        )

    def _new_rounds(self, config: Config) -> Rounds:
        return Rounds(
            self._server,
            self._reading,
            self._looks,
            self._lookup,
            Waits(config, self._lookup, self._notices),
            settle=self._hosts.settle,
        )

    def _new_server(self, config: Config) -> Server:
        return Server(
            self._lookup.ask,
            Answers(config.answer, config.trouble),
            together=self._lookup,
            asides={live.NAME: self._tell_live},
            allow_remote=config.allow_remote,
            latency=self._latency,
            report=self._say_of_sockets,
        )

    def _say_of_sockets(self, text: str) -> None:
        self._notices.note(text)
        self._notices.told("sockets", text)

    def _tell_live(self, key: bytes) -> bytes | None:
        return self.live.answer(key)  # which is made after the server

    # What the settings make of it

    def _count_formats(self, loaded: Loaded) -> None:
        for name in loaded.formats:
            self._chain.counts.hits.setdefault(name, 0)

    def _new_sessions(self, config: Config) -> Sessions:
        return Sessions(config, self._map, self._pending, wake=self.wake, notices=self._notices)

    def _rules(self, config: Config, relays: Relays | None = None) -> Rules:
        """What becomes of lookups that find a grant; ``relays``: what was counted so far."""
        if config.relay_limit and relays is None:
            relays = Relays(*config.relay_limit)
        return Rules(
            relays=relays if config.relay_limit else None,
            limited=Verdict.UNKNOWN if config.over_relay_limit == "trouble" else Verdict.ABSENT,
            tell_limited=self._limited,
            shadow=config.shadow,
            tell_shadow=lambda address, verdict: self._trail.shadowed(address, verdict, time()),
        )

    def _speak(self, config: Config) -> None:
        answers = Answers(config.answer, config.trouble)
        self._server.speak(answers, allow_remote=config.allow_remote)

    @property
    def between_rounds(self) -> bool:
        """Whether no lookup waits for the logs, so that :meth:`change` may come."""
        return self._rounds.current is None

    def change(self, loaded: Loaded) -> list[str]:
        """Go by other settings and patterns from now on; what of them only a restart changes.

        Raises :class:`PbsWatchError` or :class:`OSError`: then all is as before.  No connection
        and no lookup is lost, and every log is read on from where it was.
        """
        old, config = self._config, loaded.config
        policy = config.policy()
        with ExitStack() as undoing:
            change_hosts = self._hosts.prepared(config)
            sessions = self._sessions
            if sessions.wanted != (config.witness, config.witness_ports):
                sessions = self._new_sessions(config)
                undoing.callback(sessions.close)
            waits = self._rounds.waits
            if waits.wanted != (config.miss_wait, config.witness_ports):
                waits = Waits(config, self._lookup, self._notices)
                undoing.callback(waits.close)
            self._speak(config)
            undoing.callback(self._speak, old)
            undoing.callback(self._ports.close, self._ports.open_more(config))
            self._looks.let_go()
            self._reading.change(config)
            undoing.pop_all()
        self._ports.close_others(config)
        if sessions is not self._sessions:
            self._sessions.close()
            self._sessions = sessions
            sessions.begin()
        if waits is not self._rounds.waits:
            self._rounds.change(waits)
        change_hosts()
        self._looks.shared = self._hosts.shares
        self._chain.scanner, self._chain.policy = loaded.scanner, policy
        self._chain.standing = sessions.standing
        self._count_formats(loaded)
        same = config.relay_limit == old.relay_limit
        self._lookup.rule(self._rules(config, self._lookup.rules.relays if same else None))
        self._trail.form = None if config.audit == "off" else config.audit
        if config.retention != old.retention:
            self._writer.call(lambda: self._map.remember_for(config.retention))
        self.live.config = self._tidying.config = self._config = config
        self._looks.begin_anew()
        self._commits.soon()
        return [
            f"{name}: takes a restart; until then all is as before"
            for name in RESTART
            if getattr(config, name) != getattr(old, name)
        ]

    # The beginning

    def listen(self, handed: Handed | None = None) -> list[str]:
        """Listen where settings and supervisor say; where that is.  Raises ListenError."""
        bound = self._ports.open(self._config, handed or Handed())
        try:
            self._server.listen_live(self._config.map / live.SOCKET)
        except ListenError as error:
            # Nobody's mail depends on it.
            self._notices.warn("live", f"{error}; status and top cannot ask")
        return bound

    def start(self) -> None:
        """Find the place in each log where reading goes on; raises :class:`MapError`."""
        self._reading.obey()
        self._tidying.begin(monotonic())
        self._reading.start(self._map.sources())
        # At once: what is truncated before any of it was read cannot be told from a new file.
        self._looks.soon()
        self._sessions.begin()
        self._hosts.begin()

    def take_over(self, connections: Connections) -> None:
        """Go on with connections that were handed over."""
        for connection, protocol in connections:
            self._server.take_over(connection, protocol)

    def hand_over(self) -> Connections:
        """The connections at rest, which are the caller's from now on."""
        return self._server.hand_over()

    def hand_back(self) -> None:
        """Leave the listening sockets that were handed over open, for whoever comes next."""
        self._server.hand_back()

    # The loop

    def turn(self, longest: float | None = None) -> None:
        """Do what is to be done now, after waiting for at most ``longest`` seconds for more."""
        self._server.poll(self._timeout() if longest is None else longest)
        now = monotonic()
        self._commits.collect(now)
        if self._server.waiting and self._rounds.current is None:
            self._rounds.begin(now)
        elif self._looks.due(now):
            self._reading.obey()  # lookups do so by themselves
            self._looks.look(now)
            self._rounds.looked()
        if grown := self._reading.behind:
            self._read(now)
        self._rounds.end()
        self._rounds.wait_no_more(now, grown=grown)
        self._hosts.turn()
        if self._map.broken:
            self._mend(now)
        self._sessions.end(self._trail, self._commits)
        self._commits.begin(now)
        self._tidying.turn(now)

    def _timeout(self) -> float:
        """Seconds that may be waited for sockets."""
        if self._server.waiting or self._reading.behind or self._sessions.waiting:
            return 0.0
        until = self._looks.next
        for due in (self._commits.due, self._hosts.due):
            if due is not None:
                until = min(until, due)
        return max(until - monotonic(), 0.0)

    def _mend(self, now: float) -> None:
        """Open a broken map again, while no thread of ours reads it."""
        with ExitStack() as held:
            if self._hosts.keep_off(held):
                self._sessions.mend(self._commits, now)

    def _read(self, now: float) -> None:
        self._sessions.refresh()
        self._reading.read(now, self._rounds.current)
        self._commits.soon()

    def _drained(self) -> bool:
        """Whether all that the logs hold now has been read, so that a miss can be answered.

        A few lines are read here; who waits for more, or for his login, waits for a round.
        """
        if self._rounds.current is not None or self._rounds.waits.may_keep or self._hosts.shares:
            return False
        reading, now = self._reading, monotonic()
        self._looks.look(now)
        if reading.behind and sum(reading.waiting.values()) <= AT_ONCE:
            self._read(now)
        return not (reading.behind or reading.unsure)

    def _limited(self, address: bytes, user: bytes) -> None:
        """A user relays more than he may."""
        now = time()
        self._trail.limited(address, user, now)
        self._pending.making.refuse(
            RefusalKey(address, "relay_limit", user), Refusal(now, now, 1, b"", 0, 0, 0)
        )
        self._commits.soon()

    # The end

    def finish(self) -> None:
        """Answer what was asked, read on to where the logs end now, and commit.

        The first two take a second at most, the last as long as the disk does (10 s at most).
        """
        deadline = monotonic() + 1.0
        # What has arrived was asked: one turn accepts who has just connected, the next one reads.
        for _ in range(2):
            self.turn(0.0)
        self._looks.look(monotonic())
        self._rounds.looked()
        while self._reading.behind and monotonic() < deadline:
            self._read(monotonic())
        while not self._server.at_rest and (left := deadline - monotonic()) > 0:
            self.turn(min(self._timeout(), left))
        self._commits.finish()

    def close(self) -> None:
        """Close everything, whatever becomes of one of it."""
        self._closing.close()

    def _close_sessions(self) -> None:
        self._sessions.close()  # those that the settings have made last

    def _close_map(self) -> None:
        # Or it would be pulled away from under a thread.
        writer, hosts = getattr(self, "_writer", None), getattr(self, "_hosts", None)
        if (writer is None or not writer.stuck) and (hosts is None or hosts.ended):
            self._map.close()


def _opened(config: Config) -> Map:
    """The daemon's map, of today's schema; raises :class:`MapError`."""
    grants = Map(config.map, "daemon", config.retention)
    if grants.upgraded_from is not None:
        was, now = grants.upgraded_from, SCHEMA.decode()
        log.warning("%s: the map had schema %s, upgraded to %s", config.map, was, now)
    try:
        if config.fold_users:
            hand.fold_orders(grants)
        if orders := adopt(grants, time()):
            log.warning("%s: a new map; %d orders taken over from their copy", config.map, orders)
    except MapError:
        grants.close()
        raise
    return grants
