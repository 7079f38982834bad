"""Where the daemon listens: what the settings say, and what a supervisor has handed over.

A socket that was handed over stands for the setting with its address, and any of them for the
default address; further addresses of the settings are opened beside them.  Those that were handed
over stay as they are as long as the daemon runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pbs_watch.answer import listen
from pbs_watch.answer.server import Protocol, Server
from pbs_watch.config import Config
from pbs_watch.errors import ListenError
from pbs_watch.handover import Handed

log = logging.getLogger("pbs_watch")

_Where = tuple[Protocol, str]


class Ports:
    """The listening sockets of ``server``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._handed: set[_Where] = set()
        self._own: dict[_Where, str] = {}

    def open(self, config: Config, handed: Handed) -> list[str]:
        """Listen; returns where.  Raises :class:`ListenError`: then some may be open."""
        for listener, protocol in handed.listeners:
            where = self._server.adopt(listener, protocol)
            self._handed.add((protocol, where))
            log.info("listening: %s %s", protocol, where)
        for one in self._wanted(config):
            self._listen(one)
        return [where for _, where in self._handed] + list(self._own.values())

    def open_more(self, config: Config) -> list[_Where]:
        """Listen where ``config`` says as well; what is new.  ListenError: all is as before."""
        opened: list[_Where] = []
        try:
            for one in self._wanted(config):
                if one not in self._own:
                    self._listen(one)
                    opened.append(one)
        except ListenError:
            self.close(opened)
            raise
        return opened

    def close_others(self, config: Config) -> None:
        """Listen nowhere but where ``config`` says.  Open connections stay open."""
        wanted = self._wanted(config)
        self.close([one for one in self._own if one not in wanted])

    def close(self, ones: Iterable[_Where]) -> None:
        """Listen there no more."""
        for one in ones:
            where = self._own.pop(one)
            self._server.stop_listening(where)
            log.info("no longer listening: %s %s", one[0], where)

    def _wanted(self, config: Config) -> list[_Where]:
        """What the settings ask for and was not handed over."""
        tables = config.tcp_table if self._handed else config.listening()
        wanted: list[_Where] = [("tcp_table", where) for where in tables]
        wanted += [("socketmap", where) for where in config.socketmap]
        known = {(protocol, listen.canonical(where)) for protocol, where in self._handed}
        return [one for one in wanted if (one[0], listen.canonical(one[1])) not in known]

    def _listen(self, one: _Where) -> None:
        protocol, where = one
        if protocol == "tcp_table":
            self._own[one] = self._server.listen_tcp_table(where)
        else:
            self._own[one] = self._server.listen_socketmap(where)
        log.info("listening: %s %s", protocol, self._own[one])
