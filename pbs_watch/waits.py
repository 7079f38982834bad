"""Misses that wait a moment for their login (``miss_wait``).

Courier says OK to a client before its line has gone through courierlogger and the syslog daemon
into the log; docs/chain.rst has the times.  Who sends mail in that moment is refused, though he
has logged in.  With ``miss_wait`` the answer to a miss is given that long after the question at
most, and at once when the login is in the log, where the kernel knows a connection of the address
to the mail server.  Nobody else waits, and where the mail server runs on another host, or in a
network namespace of its own, nobody does.

Nothing here blocks but the kernel's answer, 12 ms where there are 15,000 connections, and that
takes a tenth of the loop's time at most: who is not known to be connected waits until it may be
asked again, and no longer.  Where the kernel does not answer, nobody waits, and that is said.  A
limited number of questions wait: beyond it a miss is answered at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import thread_time

from pbs_watch.answer.lookup import Lookup
from pbs_watch.answer.server import Question
from pbs_watch.config import Config
from pbs_watch.errors import SourceError
from pbs_watch.kernel import Kernel
from pbs_watch.notices import Notices

MOST = 256
"""Questions that wait at once.  Each is an smtpd that does nothing else; looking them all up again
when the log has grown takes a millisecond or two."""

_SHARE = 10
"""Times as long as the kernel's last answer took, in the time of this thread, until the next."""


class Waits:
    """The misses that wait; none do where ``miss_wait`` is off.  Raises ConfigError."""

    def __init__(self, config: Config, lookup: Lookup, notices: Notices) -> None:
        self.wanted = (config.miss_wait, config.witness_ports)
        """The settings it was made for."""
        self._longest = config.miss_wait
        self._lookup = lookup
        self._notices = notices
        self._kernel = Kernel(config.witness_ports) if config.miss_wait else None
        self._connected: frozenset[bytes] = frozenset()
        """The addresses that had a connection when the kernel was asked last."""
        self._ask_again = 0.0
        self._undecided: list[tuple[Question, bytes]] = []
        """Questions that came since then, of addresses that had none."""
        self._waiting: list[Question] = []

    @property
    def may_keep(self) -> bool:
        """Whether a miss may have to wait, so that it cannot be answered at once."""
        return self._kernel is not None

    @property
    def waiting(self) -> bool:
        """Whether any question waits."""
        return bool(self._waiting or self._undecided)

    def keep(self, questions: Iterable[Question], now: float) -> list[Question]:
        """Let those wait that are to; the others, which are to be answered at ``now``."""
        if self._kernel is None:
            return list(questions)
        at_once: list[Question] = []
        for question in questions:
            address = self._lookup.missing(question.key)
            full = len(self._waiting) + len(self._undecided) >= MOST
            if address is None or full or self._late(question, now):
                at_once.append(question)
            elif address in self._connected:
                self._waiting.append(question)
            else:
                self._undecided.append((question, address))
        return at_once + self._decided(now)

    def ready(self, now: float, *, grown: bool) -> list[Question]:
        """Take out the questions that have waited long enough.

        And, where the log has ``grown``, those whose login has come.
        """
        found = self._decided(now)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            over = self._late(one, now) or (grown and self._lookup.missing(one.key) is None)
            (found if over else self._waiting).append(one)
        return found

    def take(self) -> list[Question]:
        """Take out all questions."""
        found = self._waiting + [one for one, _ in self._undecided]
        self._waiting, self._undecided = [], []
        return found

    def close(self) -> None:
        """Ask the kernel no more."""
        if self._kernel is not None:
            self._kernel.close()

    def _late(self, question: Question, now: float) -> bool:
        return now - question.arrived >= self._longest

    def _decided(self, now: float) -> list[Question]:
        """Take out the questions that need not wait, if the kernel may be asked again."""
        if not self._undecided or now < self._ask_again:
            return []
        self._ask(now)
        found: list[Question] = []
        for one, address in self._undecided:
            # Its login may have come meanwhile.
            waits = address in self._connected and self._lookup.missing(one.key) is not None
            (self._waiting if waits else found).append(one)
        self._undecided = []
        return found

    def _ask(self, now: float) -> None:
        if self._kernel is None:
            return
        began = thread_time()
        try:
            known = self._kernel.look().known
        except SourceError as error:
            known = frozenset()
            self._notices.warn("miss_wait", f"{error}; no miss waits for its login")
        self._connected = frozenset(address for address, _ in known)
        self._ask_again = now + _SHARE * (thread_time() - began)
