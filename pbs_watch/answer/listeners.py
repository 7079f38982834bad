"""The listening sockets of a server: opened, adopted, paused where no descriptor is left, closed.

Which protocol the connections of a socket speak its owner knows: here it is a wire that is passed
on with each connection.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from select import EPOLLIN, epoll
from time import monotonic

from pbs_watch.answer import listen
from pbs_watch.answer.wire import Wire

# Connections accepted in one poll: those that are open do not wait for a flood of new ones.
_ACCEPT_BATCH = 256

# Seconds without accepting after an error: a lookup is to be answered within a second.
_ACCEPT_PAUSE = 0.1


class Listeners:
    """Accepts connections in the polls of ``polled``, and gives them to ``talk`` with their wire.

    ``watched``: what is called when a descriptor of the poll can be read.  ``report`` gets one line
    where connections cannot be accepted, and when they can be again; ``connections`` tells how many
    are open.  ``most``: the first descriptor that is for no connection, since anybody on this host
    can open any number, and the logs and the map need some.
    """

    def __init__(
        self,
        polled: epoll,
        watched: dict[int, Callable[[], None]],
        talk: Callable[[socket.socket, Wire], None],
        *,
        connections: Callable[[], int],
        most: int,
        report: Callable[[str], None],
    ) -> None:
        self._epoll = polled
        self._watched = watched
        self._talk = talk
        self._connections = connections
        self._most = most
        self._report = report
        self._open: list[socket.socket] = []
        self._reserved: list[socket.socket] = []
        self._adopted: list[tuple[socket.socket, Wire]] = []
        self._files: list[Path] = []
        self._again: float | None = None
        self._failed = False

    def serve(
        self,
        listener: socket.socket,
        wire: Wire,
        file: Path | None = None,
        *,
        reserved: bool = False,
    ) -> str:
        """Accept on a socket, and own it; its address.  ``file``: to be removed at the end.

        ``reserved``: its connections may take the descriptors that others may not.
        """
        self._open.append(listener)
        if reserved:
            self._reserved.append(listener)
        if file is not None:
            self._files.append(file)
        self._epoll.register(listener.fileno(), EPOLLIN)
        self._watched[listener.fileno()] = partial(self._accept, listener, wire)
        return listen.address(listener)

    def adopt(self, listener: socket.socket, wire: Wire) -> str:
        """Accept on a socket that was handed over, until :meth:`hand_back`; its address."""
        self._adopted.append((listener, wire))
        return self.serve(listener, wire)

    def hand_back(self) -> list[tuple[socket.socket, Wire]]:
        """The sockets that were adopted, served no more and the caller's from now on."""
        found, self._adopted = self._adopted, []
        for listener, _ in found:
            self._leave(listener)
        return found

    def stop(self, where: str) -> None:
        """Accept there no more; ``where`` as :meth:`serve` told it."""
        listener = next(one for one in self._open if listen.address(one) == where)
        self._leave(listener)
        listener.close()
        if where.startswith(listen.UNIX):
            path = Path(where.removeprefix(listen.UNIX))
            self._files.remove(path)
            self._remove(path)

    def _leave(self, listener: socket.socket) -> None:
        self._open.remove(listener)
        if listener in self._reserved:
            self._reserved.remove(listener)
        del self._watched[listener.fileno()]
        self._epoll.unregister(listener.fileno())

    def close(self) -> None:
        """Close all of them and remove their files."""
        for listener in self._open:
            listener.close()
        for path in self._files:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._report(f"{path}: cannot be removed ({error.strerror}); remove it")

    # Accepting

    def _accept(self, listener: socket.socket, wire: Wire) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                accepted, _peer = listener.accept()
            except BlockingIOError:
                if self._failed and self._again is None:
                    self._failed = False
                    self._report("accepting connections again")
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(error.strerror or str(error))
                return
            taken = accepted.fileno()
            self._talk(accepted, wire)
            if taken >= self._most and listener not in self._reserved:
                self._pause("too many are open")
                return

    def _pause(self, why: str) -> None:
        """Let new connections wait in the kernel's queue: with EMFILE, epoll would spin."""
        if not self._failed:
            self._failed = True
            self._report(
                f"cannot accept connections: {why}; {self._connections()} are open, "
                "raise LimitNOFILE if that is too few"
            )
        for listener in self._open:
            self._epoll.modify(listener.fileno(), 0)
        self._again = monotonic() + _ACCEPT_PAUSE

    def wait(self, timeout: float | None) -> float | None:
        """How long a poll may wait; accepts again if it is time."""
        if self._again is None:
            return timeout
        left = self._again - monotonic()
        if left > 0:
            return left if timeout is None else min(timeout, left)
        room = self._room()
        self._again = None if room else monotonic() + _ACCEPT_PAUSE
        for listener in self._open if room else self._reserved:
            self._epoll.modify(listener.fileno(), EPOLLIN)
        return timeout if room else min(timeout or _ACCEPT_PAUSE, _ACCEPT_PAUSE)

    def _room(self) -> bool:
        """Whether the next descriptor is one for connections."""
        try:
            descriptor = os.dup(self._epoll.fileno())
        except OSError:
            return False
        os.close(descriptor)
        return descriptor < self._most
