"""The life of the daemon's process: starting, signals, reloading, and the end.

Signals
    TERM and INT: read what the logs hold, commit, end; a second one ends at once.  HUP: read
    settings and patterns again.  USR1: tell the state in the log.

Supervisors
    Under systemd, or what does as it does, the daemon tells that it is ready, how it is, and, from
    its very loop, that it is alive (:mod:`pbs_watch.supervisor`).  With sockets that were handed
    over (:mod:`pbs_watch.handover`) a start that fails ends nothing: :mod:`pbs_watch.standin`
    answers "cannot tell" while it is tried again.  At the end the open connections are handed to
    the next daemon, so that Postfix never learns of a restart.  Without any, a start that fails is
    one line and exit code 2.

A crash hands nothing over: a request that was read and not answered would leave Postfix waiting for
100 seconds, where a closed connection makes it ask again after one.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING

from pbs_watch.answer.wire import Answers
from pbs_watch.errors import PbsWatchError, one_line
from pbs_watch.handover import Handed
from pbs_watch.reloads import Reloads, Verdict
from pbs_watch.service import Connections, Loaded, Service
from pbs_watch.snapshots import Snapshots
from pbs_watch.standin import StandIn
from pbs_watch.supervisor import Supervisor

if TYPE_CHECKING:
    from pbs_watch.exporter import Exporter

log = logging.getLogger("pbs_watch")

RETRY_AFTER = 1.0
"""Seconds until a start that failed is tried again; longer where it takes long."""

_SHARE = 10
"""Of that time a start takes at most a tenth, since nobody is answered meanwhile."""

TURN_OF_A_THREAD = 0.0002
"""Seconds for which the writer's thread may compute before the loop goes on.

Each system call of the loop lets that thread in.  Measured with ten replies to be sent: with
Python's own 5 ms one time in a hundred took 5.1 ms, now 0.05 ms.
"""

_END = (signal.SIGTERM, signal.SIGINT)


class Daemon:
    """Runs a service from ``load``, which reads settings and patterns and raises PbsWatchError.

    ``flush`` writes the log's lines while no thread does; ``begin_log`` starts that thread.
    """

    def __init__(
        self,
        load: Callable[[], Loaded],
        *,
        supervisor: Supervisor,
        handed: Handed,
        flush: Callable[[], None],
        begin_log: Callable[[], None],
    ) -> None:
        self._load = load
        self._supervisor = supervisor
        self._handed = handed
        self._flush = flush
        self._begin_log = begin_log
        self._stopping = self._tell = self._again = False
        self._wake: Callable[[], None] = lambda: None
        self._answers = Answers()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.  Raises :class:`PbsWatchError` where it cannot start."""
        self._catch_signals()
        for text in self._handed.unfit:
            log.warning("%s", text)
        for protocol in {protocol for _, protocol in self._handed.connections}:
            self._supervisor.took(protocol)
        try:
            service = self._started()
        except Exception as error:
            # Whatever it is: a port that is open and silent is worse.
            if not self._handed.listeners:
                raise
            found = self._stand_in(error)
            if found is None:
                return
            service = found
        else:
            service.take_over(self._handed.connections)
        try:
            self._begin_log()
            self._serve(service)
            self._supervisor.stopping()
            self._leave(service)
        finally:
            service.close()
            self._supervisor.close()

    def _catch_signals(self) -> None:
        def note(name: str) -> Callable[[int, object], None]:
            def noted(_number: int, _frame: object) -> None:
                setattr(self, name, True)
                self._wake()

            return noted

        for number in _END:
            signal.signal(number, note("_stopping"))
        signal.signal(signal.SIGHUP, note("_again"))
        signal.signal(signal.SIGUSR1, note("_tell"))

    # The beginning

    def _started(self) -> Service:
        """A service that listens; where that fails, what was handed over is as it was."""
        loaded = self._load()
        self._answers = Answers(loaded.config.answer, loaded.config.trouble)
        service = Service(loaded.config, loaded)
        try:
            service.listen(self._handed)
            service.start()
        except BaseException:
            service.hand_back()
            service.close()
            raise
        return service

    def _stand_in(self, error: Exception) -> Service | None:
        """Answer "cannot tell" until a start does not fail; ``None``: until the end."""
        stand_in = StandIn(self._handed)
        self._wake = stand_in.wake
        took, said = 0.0, ""
        while True:
            stand_in.speak(self._answers)
            if (text := one_line(error)) != said:
                said = text
                log.error("%s; until then every lookup is answered with trouble", text)
                self._supervisor.ready(f"Cannot start: {text}")
            self._flush()
            if not self._waited(stand_in, max(RETRY_AFTER, took * _SHARE)):
                self._supervisor.stopping()
                self._give_away(stand_in.leave())
                return None
            began = monotonic()
            try:
                service = self._started()
            except Exception as failure:  # noqa: BLE001 - as in run()
                error, took = failure, monotonic() - began
                continue
            log.warning("what kept the daemon from starting is mended")
            service.take_over(stand_in.leave())
            return service

    def _waited(self, stand_in: StandIn, seconds: float) -> bool:
        """Answer for so long, or until SIGHUP; False: the daemon is to end."""
        until = monotonic() + seconds
        while not self._stopping and not self._again and (left := until - monotonic()) > 0:
            stand_in.turn(min(left, RETRY_AFTER))
            self._supervisor.feed(monotonic())
        self._again = False
        return not self._stopping

    # The loop

    def _serve(self, service: Service) -> None:
        """Turn until the end, and do what signals and ``pbs-watch reload`` ask for."""
        self._wake = service.wake
        exporter = _exporter(service)
        try:
            self._turn_on(service, exporter)
        finally:
            if exporter is not None:
                exporter.close()

    def _turn_on(self, service: Service, exporter: Exporter | None) -> None:
        reloads = Reloads(self._load, service.wake)
        service.live.also(b"reload", lambda _: {"number": reloads.ask()})
        service.live.also(b"reloaded", lambda number: _told(reloads, number))
        # What exists now stays: the collector need not look through it again and again.
        gc.freeze()
        sys.setswitchinterval(TURN_OF_A_THREAD)
        log.info("ready")
        self._supervisor.ready(service.live.summary())
        while not self._stopping:
            service.turn()
            self._supervisor.feed(monotonic())
            if exporter is not None:
                exporter.turn()
            if self._tell:
                self._tell = False
                log.warning("%s", service.live.summary())
            if self._again:
                self._again = False
                reloads.ask()
            if reloads.begin():
                self._supervisor.reloading()
            if service.between_rounds and (found := reloads.loaded()) is not None:
                reloads.settle(self._changed(service, found))

    def _changed(self, service: Service, found: Loaded | PbsWatchError) -> Verdict:
        """Go by what was loaded, or say why not."""
        try:
            if isinstance(found, PbsWatchError):
                raise found
            notes = tuple(service.change(found))
        except (PbsWatchError, OSError) as error:
            return self._refused(one_line(error))
        for note in notes:
            log.warning("%s", note)
        log.info("reloaded")
        self._supervisor.ready(service.live.summary())
        return Verdict(notes=notes)

    def _refused(self, text: str) -> Verdict:
        log.error("not reloaded, all is as before: %s", text)
        self._supervisor.ready(f"Not reloaded, all is as before: {text}")
        return Verdict(text)

    # The end

    def _leave(self, service: Service) -> None:
        """Hand the connections to the next daemon, where somebody keeps them."""
        for number in _END:
            signal.signal(number, signal.SIG_DFL)
        service.finish()
        if self._handed.listeners:
            self._give_away(service.hand_over())

    def _give_away(self, connections: Connections) -> None:
        for protocol in ("tcp_table", "socketmap"):
            theirs = [connection for connection, spoken in connections if spoken == protocol]
            self._supervisor.keep(protocol, theirs)
        for connection, _ in connections:
            connection.close()


def _exporter(service: Service) -> Exporter | None:
    """Who tells metrics, where that is wanted."""
    config = service.live.config
    if config.metrics is None and config.metrics_file is None:
        return None
    from pbs_watch.exporter import exporter_of  # noqa: PLC0415 - 20 ms of every start else

    return exporter_of(config, Snapshots(service.live.status, service.wake))


def _told(reloads: Reloads, number: bytes) -> dict[str, object]:
    """What became of a reload, for whoever asks by its number."""
    verdict = reloads.verdict(int(number)) if number.isdigit() else None
    return {"done": verdict is not None, **(asdict(verdict) if verdict is not None else {})}
