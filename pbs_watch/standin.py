"""What answers while the daemon cannot start: "cannot tell", at once and to everybody.

The sockets were handed over, so nobody else can answer there, and a port that is open and silent
costs Postfix up to 1000 seconds a lookup (facts/postfix.md).  Nothing is known here, settings not
even: who may connect is whoever could already.
"""

from __future__ import annotations

from socket import socket

from pbs_watch.answer.server import Protocol, Server
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers
from pbs_watch.grants.address import literal
from pbs_watch.handover import Handed


def _cannot_tell(key: bytes) -> Verdict:
    """What is no address is "no" without looking, as ever."""
    return Verdict.ABSENT if literal(key) is None else Verdict.UNKNOWN


class StandIn:
    """Serves what was handed over until :meth:`leave`."""

    def __init__(self, handed: Handed) -> None:
        self._server = Server(_cannot_tell, Answers(), allow_remote=True)
        self.wake = self._server.wake
        for listener, protocol in handed.listeners:
            self._server.adopt(listener, protocol)
        for connection, protocol in handed.connections:
            self._server.take_over(connection, protocol)

    def speak(self, answers: Answers) -> None:
        """Answer in the words of the settings, where these could be read."""
        self._server.speak(answers, allow_remote=True)

    def turn(self, longest: float) -> None:
        """Answer what is asked within so many seconds."""
        self._server.poll(longest)

    def leave(self) -> list[tuple[socket, Protocol]]:
        """Serve no more; the connections that are open.  The listening sockets stay open."""
        connections = self._server.hand_over()
        self._server.hand_back()
        self._server.close()
        return connections
