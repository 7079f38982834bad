"""The thread that asks the engine what the map does not know.

Questions that arrive while one round trip goes on are asked together in the next one, so that the
engine is asked once per round trip and not once per lookup.  A question is asked when it has
waited for ``linger``: what another host is reading in its log at this moment has arrived by then.

Who asked is told of each answer, late ones too, and of each failure.  After a failure, and where it
is told that nobody will ask for now (:meth:`Asker.watch`), the thread looks by itself, twice a
second, whether the engine is back: no client waits for finding out, nor for a connection to be
made, at the beginning or after a while without questions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from time import monotonic, time

from pbs_watch.errors import SharedError
from pbs_watch.grants.address import granted_as, literal
from pbs_watch.shared.engine import PATIENCE, TOGETHER, Engine, Found, by_address

_AGAIN = 0.5
"""Seconds between two looks whether the engine is back."""

_IDLE = 60.0
"""Seconds without a question after which it is looked whether the connection is there: to make one
takes longer than an answer may."""

Question = tuple[float, int, bytes]
"""When it is to be asked (monotonic seconds), its number, and a canonical address."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of questions: ``found``, or why nothing was; ``took``: seconds of round trip.

    ``numbers``: of the questions; none: the engine can be reached again.
    """

    numbers: tuple[int, ...]
    found: Found | None
    error: str
    took: float


class Asker:
    """Asks ``engine``, which belongs to it; ``wake`` is called for each result.

    ``gather``: seconds before its time at which a question may go with others: the engine has less
    to do for ten in one round trip than for ten of them.
    """

    def __init__(self, engine: Engine, wake: Callable[[], None], gather: float = 0.0) -> None:
        self._gather = gather
        self._engine = engine
        self._wake = wake
        self._questions: list[Question] = []
        """A heap: the next one to be asked first."""
        self._changed = threading.Condition()
        self._over = False
        self._results: SimpleQueue[Answered] = SimpleQueue()
        self._down = False
        self._thread = threading.Thread(target=self._work, name="shared-ask", daemon=True)

    def begin(self) -> None:
        """Start working."""
        self._thread.start()

    def ask(self, at: float, number: int, address: bytes) -> None:
        """Ask for ``address`` at that time (monotonic seconds)."""
        with self._changed:
            heappush(self._questions, (at, number, address))
            if self._questions[0][1] == number:
                # The thread sleeps until the next one's time: who comes later need not wake it.
                self._changed.notify()

    @property
    def has_results(self) -> bool:
        """Whether :meth:`result` has something: cheap, for each turn of the loop asks it."""
        return not self._results.empty()

    def result(self) -> Answered | None:
        """The next result, if there is one."""
        try:
            return self._results.get_nowait()
        except Empty:
            return None

    def watch(self) -> None:
        """Look by yourself until the engine answers: no question comes before that is told."""
        with self._changed:
            self._down = True
            self._changed.notify()

    def end(self) -> None:
        """Ask no more."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def join(self, patience: float) -> None:
        """Wait for the end of the thread, so many seconds at most."""
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _work(self) -> None:
        try:
            self._look()
            while (questions := self._next()) is not None:
                if questions:
                    self._tell(self._find(questions))
                else:
                    self._look()
        finally:
            self._engine.close()

    def _tell(self, answered: Answered) -> None:
        self._down = answered.found is None
        self._results.put(answered)
        self._wake()

    def _next(self) -> list[Question] | None:
        """What to ask now; empty: nobody has asked for a while; ``None``: the end."""
        with self._changed:
            while not self._over:
                if not self._questions:
                    if not self._changed.wait(_AGAIN if self._down else _IDLE):
                        return []
                elif (left := self._questions[0][0] - monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    return self._due(monotonic() + self._gather)
        return None

    def _due(self, latest: float) -> list[Question]:
        found: list[Question] = []
        while self._questions and self._questions[0][0] <= latest and len(found) < TOGETHER:
            found.append(heappop(self._questions))
        return found

    def _find(self, questions: Sequence[Question]) -> Answered:
        """Ask, and once more where the connection was lost: another server may answer at once."""
        began = monotonic()
        numbers = tuple(number for _, number, _ in questions)
        addresses = [address for _, _, address in questions]
        error = ""
        for _ in range(2):
            try:
                found = asked(self._engine, addresses, time())
            except SharedError as trouble:
                error = str(trouble)
                if monotonic() - began > PATIENCE / 2:
                    break
            except Exception as trouble:  # noqa: BLE001 - or this thread ends, and nobody is told
                error = f"the engine's library failed: {trouble!r}"
                break
            else:
                return Answered(numbers, found, "", monotonic() - began)
        return Answered(numbers, None, error, monotonic() - began)

    def _look(self) -> None:
        try:
            self._engine.mark()
        except SharedError:
            return
        except Exception:  # noqa: BLE001 - as above; it is looked again
            return
        if self._down:
            self._tell(Answered((), Found(0), "", 0.0))


def asked(engine: Engine, addresses: Iterable[bytes], now: float) -> Found:
    """What ``engine`` knows of canonical addresses, each by the names that were asked for.

    A server may answer with another spelling: to MySQL words that differ in spaces at their end are
    the same, and to some tables those that differ in case.  Raises :class:`SharedError`.
    """
    names = dict.fromkeys(name for address in addresses for name in granted_as(address))
    found = engine.find(list(names), now)
    logins = []
    for some in found.logins.values():
        for one in some:
            name = one.address if one.address in names else literal(one.address.strip())
            if name in names:
                logins.append(one._replace(address=name))
    return Found(found.version, by_address(logins))
