"""The sockets: accepting, reading, answering, in one epoll loop that its owner drives.

Promises (design.md, "Answering")
    The ports stay open, idle connections too: Postfix holds one for each smtpd, and a closed one
    costs it a second.  Nothing here blocks.  A lookup that can be answered at once is; the others
    become questions, which the owner settles by the round.

On trouble
    An error of one connection ends that connection and no other.  Where few file descriptors are
    left, new connections wait in the kernel's queue until others end: anybody on this host can open
    any number, and the logs and the map need some.  The live socket, which is for the daemon's own
    group, is served out of those.  A client that does
    not read its replies is not read from; it costs a turn's replies and nothing else.

The owner's loop::

    server.poll(timeout)
    if server.waiting:
        questions = server.take_waiting()
        ...                                      # drain the log
        server.settle(questions, verdict_now)

Rests on facts/postfix.md and epoll(7).  The loop is our own because of its speed: measured with 10
connections on one machine, 74,000 lookups/s against 20,000 to 55,000 with asyncio.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from socket import MSG_NOSIGNAL
from threading import RLock
from time import monotonic
from typing import Literal

from pbs_watch.answer import listen
from pbs_watch.answer.conversation import Conversation, Lookup, Together
from pbs_watch.answer.latency import Latency
from pbs_watch.answer.listeners import Listeners
from pbs_watch.answer.socketmap import Aside, Socketmap
from pbs_watch.answer.tcp_table import TcpTable
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers, Wire

Protocol = Literal["tcp_table", "socketmap"]

# Bytes read at once.  A request is below 100; Python allocates the whole size for each read, and up
# to 512 bytes from its own stock, which is faster.
_READ_SIZE = 448

# Connections served in one poll: with a whole turn for each some 50 ms of work.
_BATCH = 128

# Descriptors that connections leave to others: a log, its compressed siblings, the map, commands.
_RESERVE = 64

# Bytes discarded after the last reply.  A socket closed with unread bytes resets the connection,
# and the client would lose the reply that tells it why.
_DISCARD_LIMIT = 1 << 20


@dataclass(slots=True, eq=False)
class Connection:
    """A connection and what is still to be done with it."""

    socket: socket.socket
    conversation: Conversation
    question: Question | None = None
    unsent: bytes = b""
    events: int = EPOLLIN
    discarded: int = 0
    receive: Callable[[int], bytes] = field(init=False)
    send: Callable[[bytes, int], int] = field(init=False)

    def __post_init__(self) -> None:
        # Found once, not with each request.
        self.receive = self.socket.recv
        self.send = self.socket.send


@dataclass(slots=True, eq=False)
class Question:
    """A lookup that waits until the log is drained.

    ``key`` as Postfix sent it, unquoted; ``arrived`` in seconds of the monotonic clock.
    """

    key: bytes
    arrived: float
    connection: Connection = field(repr=False)


class _Apart:
    """Each lookup is made for itself."""

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass


def _silent(_text: str) -> None:
    """Reports nothing."""


class Server:
    """Listening sockets, connections and questions.

    ``lookup`` says what is known about a key at once, or None: the question waits.  It must not
    raise.  ``together`` is told which lookups have arrived together.  ``asides`` answer other
    socketmap names where :meth:`listen_live` listens, and only there: they show the daemon's state,
    user names too.  ``report`` gets one line for the log when something is wrong with the sockets,
    and when it is well again.  ``unix_mode``: permissions of socket files; Postfix connects as
    another user.  ``latency`` is told how long each lookup took.  The soft limit of open files is
    raised to the hard one.
    """

    def __init__(
        self,
        lookup: Lookup,
        answers: Answers,
        *,
        together: Together | None = None,
        asides: Mapping[bytes, Aside] | None = None,
        allow_remote: bool = False,
        unix_mode: int = 0o666,
        latency: Latency | None = None,
        report: Callable[[str], None] = _silent,
    ) -> None:
        self.waiting: list[Question] = []
        self._ask = lookup
        self._latency = latency
        self._answered = 0
        self._lookup = lookup if latency is None else self._counted
        self._together = together or _Apart()
        self._tcp_table = TcpTable(answers)
        self._socketmap = Socketmap(answers, {})
        self._live = Socketmap(answers, asides or {})
        self._allow_remote = allow_remote
        self._unix_mode = unix_mode
        self._connections: dict[int, Connection] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        limit = _raised_file_limit()
        self._now = monotonic()
        self._epoll = epoll()
        self._listeners = Listeners(
            self._epoll,
            self._watched,
            self._talk,
            connections=self._connections.__len__,
            most=limit - min(_RESERVE, limit // 4),
            report=report,
        )
        # Reentrant: a signal handler may wake while the thread it interrupts does.
        self._closing = RLock()
        self._closed = False
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._alarm, self._woken)

    # Listening

    def listen_tcp_table(self, where: str) -> str:
        """Listen on ``ADDRESS:PORT``; the address with the port that was bound. ListenError."""
        listener = listen.tcp(where, allow_remote=self._allow_remote)
        return self._listeners.serve(listener, self._tcp_table)

    def listen_socketmap(self, where: str) -> str:
        """Listen on ``ADDRESS:PORT`` or ``unix:/PATH``; the address as bound. ListenError."""
        if not where.startswith(listen.UNIX):
            listener = listen.tcp(where, allow_remote=self._allow_remote)
            return self._listeners.serve(listener, self._socketmap)
        listener = listen.unix(where, self._unix_mode)
        return self._listeners.serve(listener, self._socketmap, Path(listener.getsockname()))

    def stop_listening(self, where: str) -> None:
        """Listen there no more; ``where`` as it was returned.  Open connections stay."""
        self._listeners.stop(where)

    def listen_live(self, path: Path) -> None:
        """Listen on a socket for the daemon's own group, which may see its state.  ListenError.

        The path may be longer than a socket's address can be.
        """
        self._listeners.serve(listen.beside(path, 0o660), self._live, path, reserved=True)

    def adopt(self, listener: socket.socket, protocol: Protocol) -> str:
        """Serve a listening socket that was handed over, and own it; its address.

        Raises ListenError where it is not loopback and must be; the socket is then the caller's.
        """
        listen.adopt(listener, allow_remote=self._allow_remote)
        return self._listeners.adopt(listener, self._wire(protocol))

    def hand_back(self) -> list[tuple[socket.socket, Protocol]]:
        """The listening sockets that were adopted, served no more and the caller's from now on."""
        return [(one, self._protocol(wire)) for one, wire in self._listeners.hand_back()]

    def take_over(self, connection: socket.socket, protocol: Protocol) -> None:
        """Go on with an open connection that was handed over at rest, and own it."""
        self._talk(connection, self._wire(protocol))

    def hand_over(self) -> list[tuple[socket.socket, Protocol]]:
        """The connections at rest, which are served no more and are the caller's from now on.

        Those with a question, or a reply on its way, stay.
        """
        found: list[tuple[socket.socket, Protocol]] = []
        for fd, connection in list(self._connections.items()):
            wire = connection.conversation.wire
            if wire is self._live or connection.unsent or not connection.conversation.idle:
                continue
            del self._connections[fd]
            self._epoll.unregister(fd)
            found.append((connection.socket, self._protocol(wire)))
        return found

    @property
    def at_rest(self) -> bool:
        """Whether every request that arrived has its reply, as far as the clients read them."""
        return not self.waiting and not any(
            one.question is not None or one.conversation.more for one in self._connections.values()
        )

    def speak(self, answers: Answers, *, allow_remote: bool) -> None:
        """Answer with other words from now on, on open connections too."""
        self._tcp_table.replies = TcpTable(answers).replies
        self._socketmap.replies = self._live.replies = Socketmap(answers, {}).replies
        self._allow_remote = allow_remote

    def _wire(self, protocol: Protocol) -> Wire:
        return self._socketmap if protocol == "socketmap" else self._tcp_table

    def _protocol(self, wire: Wire) -> Protocol:
        return "socketmap" if wire is self._socketmap else "tcp_table"

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    # The loop

    def poll(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds (None: for ever), then do all I/O that is ready."""
        ready = self._epoll.poll(self._listeners.wait(timeout), _BATCH)
        self._now = monotonic()
        heard: list[tuple[Connection, bytes]] = []
        others = []
        for fd, events in ready:
            connection = self._connections.get(fd)
            if connection is None:
                others.append(fd)
            elif events == EPOLLIN and connection.question is None:
                if data := self._read(connection):
                    heard.append((connection, data))
            elif events & (EPOLLERR | EPOLLHUP):
                self._drop(connection)
            elif events & EPOLLOUT:
                # The client reads: send what is left or, when nothing is, take the next turn.
                heard.append((connection, b""))
            else:
                # Not read until the question is settled.  So a client that sends its requests and
                # shuts down its side still gets every reply: the end is read after the requests.
                self._wait_for(connection, 0)
        if heard:
            self._answer(heard)
        self._time()
        # After the connections: an accepted one may get the number of one that was just closed.
        for fd in others:
            callback = self._watched.get(fd)
            if callback is not None:
                callback()

    def _answer(self, heard: Sequence[tuple[Connection, bytes]]) -> None:
        """Answer what connections have said; nothing: they can be written to again."""
        # Read all, look up all, then send all: sending wakes the clients, which then find more to
        # do at once.  Measured: half again as many lookups/s as sending after each read.
        self._together.begin()
        try:
            for connection, data in heard:
                # Nothing is read before everything is sent, so nothing is overwritten here.
                if data:
                    connection.unsent = connection.conversation.hear(data)
                elif not connection.unsent:
                    connection.unsent = connection.conversation.resume()
        finally:
            self._together.end()
        for connection, _ in heard:
            self._say(connection)

    def wake(self) -> None:
        """End the poll that waits, or the next one.  For other threads and signal handlers.

        After :meth:`close` it does nothing: a thread may end later than the server.
        """
        with self._closing:
            if not self._closed:
                os.eventfd_write(self._alarm, 1)

    def _woken(self) -> None:
        os.eventfd_read(self._alarm)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` in poll whenever ``fd`` can be read; it must not block."""
        self._epoll.register(fd, EPOLLIN)
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Watch ``fd`` no longer; to be called before it is closed."""
        del self._watched[fd]
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Close everything and remove the socket files."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listeners.close()
        self._epoll.close()
        with self._closing:
            self._closed = True
            os.close(self._alarm)

    # Questions

    def take_waiting(self) -> list[Question]:
        """The questions that wait, in the order of their arrival; later ones are another round."""
        questions, self.waiting = self.waiting, []
        return questions

    def settle(self, questions: Iterable[Question], decide: Callable[[bytes], Verdict]) -> None:
        """Answer ``questions`` and go on with what their connections sent behind them.

        A question that is settled already, or whose connection is gone, is passed over: those that
        wait too long may be settled before their round ends.
        """
        self._now = monotonic()
        answered = []
        self._together.begin()
        try:
            for question in questions:
                connection = question.connection
                if connection.question is question:
                    connection.question = None
                    if self._latency is not None:
                        self._latency.observe(self._now - question.arrived)
                    connection.unsent += connection.conversation.settle(decide(question.key))
                    answered.append(connection)
        finally:
            self._together.end()
        for connection in answered:
            self._say(connection)
        self._time()

    def _counted(self, key: bytes) -> Verdict | None:
        """As the lookup does; a question's time ends when it is settled."""
        verdict = self._ask(key)
        if verdict is not None:
            self._answered += 1
        return verdict

    def _time(self) -> None:
        """All that was answered in this turn has taken as long as the turn, sending included."""
        if self._answered and self._latency is not None:
            self._latency.observe(monotonic() - self._now, self._answered)
            self._answered = 0

    # Connections

    def _talk(self, connection: socket.socket, wire: Wire) -> None:
        connection.settimeout(0)
        fd = connection.fileno()
        self._connections[fd] = Connection(connection, Conversation(wire, self._lookup))
        self._epoll.register(fd, EPOLLIN)

    def _read(self, connection: Connection) -> bytes:
        """What arrived and is to be answered; empty: nothing, or the connection is gone."""
        try:
            data = connection.receive(_READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif connection.conversation.over:
            connection.discarded += len(data)
            if connection.discarded > _DISCARD_LIMIT:
                self._drop(connection)
            return b""
        return data

    def _say(self, connection: Connection) -> None:
        """Send the replies, then note the question, or the end, that came after them."""
        unsent = connection.unsent
        conversation = connection.conversation
        if unsent:
            try:
                sent = connection.send(unsent, MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._drop(connection)
                return
            connection.unsent = unsent = unsent[sent:]
        if conversation.idle and not unsent:
            if connection.events != EPOLLIN:
                self._wait_for(connection, EPOLLIN)
            return
        if conversation.question is not None and connection.question is None:
            question = Question(conversation.question, self._now, connection)
            connection.question = question
            self.waiting.append(question)
        elif conversation.over and not unsent:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)
        events = EPOLLOUT if unsent or conversation.more else EPOLLIN
        if events != connection.events:
            self._wait_for(connection, events)

    def _wait_for(self, connection: Connection, events: int) -> None:
        connection.events = events
        self._epoll.modify(connection.socket.fileno(), events)

    def _drop(self, connection: Connection) -> None:
        connection.question = None
        fd = connection.socket.fileno()
        del self._connections[fd]
        self._epoll.unregister(fd)
        connection.socket.close()


def _raised_file_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError):  # a service manager may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 30
