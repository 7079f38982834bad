"""Metrics for Prometheus: over HTTP on loopback, or as a file for the textfile collector.

Nothing here runs in the loop: threads ask it for a snapshot and do the rest.  ``GET /metrics`` is
for Prometheus; ``GET /healthz`` says ``well`` (200), or what is wrong (503), which is also the
answer where the loop does not turn.  Few are served at once, and none of them for long: whoever may
reach the port can keep it busy and no more.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any

from pbs_watch import metrics
from pbs_watch.answer import listen
from pbs_watch.config import Config
from pbs_watch.errors import PbsWatchError, one_line
from pbs_watch.health import ailments
from pbs_watch.snapshots import Snapshots

log = logging.getLogger("pbs_watch")

WRITE_EVERY = 15.0
"""Seconds between two files: Prometheus asks as often as that, or less."""

_PATIENCE = 2.0
"""Seconds for the loop to tell its state, which takes it less than a millisecond."""

_SLOWEST = 5.0
"""Seconds for a client to say what it wants, and to take the answer."""

_AT_ONCE = 8
"""Clients that are served at once; more are hung up on."""

_FRESH = 1.0
"""Seconds for which the same is told: whoever asks in between costs the loop nothing."""

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Pages:
    """What is told for a second: ``made`` is when, in monotonic seconds."""

    made: float
    metrics: bytes
    ailments: list[str]


class _Handler(BaseHTTPRequestHandler):
    """Answers one request of a client."""

    server: _Server
    timeout = _SLOWEST
    server_version = "pbs-watch"
    sys_version = ""

    def do_GET(self) -> None:
        """Metrics, health, or nothing."""
        path = self.path.partition("?")[0]
        if path not in {"/metrics", "/healthz"}:
            self._say(404, "there are /metrics and /healthz\n")
        elif (pages := self.server.pages()) is None:
            self._say(503, "the daemon's loop does not answer\n")
        elif path == "/metrics":
            self._say(200, pages.metrics, "text/plain; version=0.0.4; charset=utf-8")
        else:
            found = pages.ailments
            self._say(503 if found else 200, "".join(f"{one}\n" for one in found or ["well"]))

    def _say(self, status: int, text: str | bytes, kind: str = _TEXT) -> None:
        data = text.encode(errors="backslashreplace") if isinstance(text, str) else text
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing: a client could cause any number of lines."""


class _Server(ThreadingHTTPServer):
    """Serves on a socket that listens already."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket, snapshots: Snapshots) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._snapshots = snapshots
        self._making = threading.Lock()
        self._pages: _Pages | None = None
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def pages(self) -> _Pages | None:
        """What to tell; ``None``: the loop does not answer."""
        with self._making:
            if self._pages is None or monotonic() - self._pages.made > _FRESH:
                state = self._snapshots.ask(_PATIENCE)
                self._pages = None
                if state is not None:
                    text = metrics.exposition(state)
                    self._pages = _Pages(monotonic(), text, ailments(state))
            return self._pages

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread, if there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room for the next one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up concerns nobody."""


class Exporter:
    """Tells metrics on ``listener`` and in ``file``, either of which may be missing."""

    def __init__(self, snapshots: Snapshots, listener: socket | None, file: Path | None) -> None:
        self._snapshots = snapshots
        self._file = file
        self._over = threading.Event()
        self._trouble = ""
        self._server = _Server(listener, snapshots) if listener is not None else None
        if self._server is not None:
            self._start("metrics", self._server.serve_forever)
        if file is not None:
            self._start("metrics file", self._write_again_and_again)

    @staticmethod
    def _start(name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def turn(self) -> None:
        """To be called in the loop."""
        self._snapshots.turn()

    def close(self) -> threading.Thread:
        """Tell no more; the file would be taken for the state of a daemon that runs.

        Returns a thread that ends with the server, for which a daemon need not wait.
        """
        self._over.set()
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()
        return self._start("metrics end", self._close_server)

    def _close_server(self) -> None:
        if self._server is not None:
            self._server.shutdown()  # waits until the server looks, which is half a second
            self._server.server_close()

    def _write_again_and_again(self) -> None:
        assert self._file is not None  # noqa: S101 - or this thread does not run
        while not self._over.is_set():
            state = self._snapshots.ask(_PATIENCE)
            if state is not None:
                self._write(self._file, metrics.exposition(state))
            self._over.wait(WRITE_EVERY)

    def _write(self, file: Path, data: bytes) -> None:
        """Replace the file at once: the collector reads a whole one, or the one before."""
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            beside.write_bytes(data)
            beside.chmod(0o644)
            if not self._over.is_set():
                beside.replace(file)
            trouble = ""
        except OSError as error:
            trouble = f"{file}: metrics cannot be written ({error.strerror}); look at metrics_file"
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("%s", trouble or f"{file}: metrics can be written again")


def exporter_of(config: Config, snapshots: Snapshots) -> Exporter | None:
    """Who tells the metrics that the settings ask for; nobody's mail depends on it."""
    listener = None
    try:
        metrics.require()
        if config.metrics is not None:
            listener = listen.tcp(config.metrics, allow_remote=config.allow_remote)
            log.info("listening: metrics %s", listen.address(listener))
    except PbsWatchError as error:
        complaint = one_line(error)
    else:
        return Exporter(snapshots, listener, config.metrics_file)
    log.error("%s; no metrics are told", complaint)
    return None
