"""Misses that wait a moment for their login (``miss_wait``).

Courier says OK to a client before its line has gone through courierlogger and the syslog daemon
into the log; docs/chain.rst has the times.  Who sends mail in that moment is refused, though he
has logged in.  With ``miss_wait`` the answer to a miss is given that long after the question at
most, and at once when the login is in the log, where the kernel knows a connection of the address
to the mail server.  Nobody else waits, and where the mail server runs on another host, or in a
network namespace of its own, nobody does.

Nothing here blocks but the kernel's answer, 12 ms where there are 15,000 connections, and that
takes a tenth of the loop's time at most: who is not known to be connected waits until it was asked
twice, and no longer.  Where the kernel does not answer, as it may for a moment while connections
come and go in floods, every miss waits, and that is said.  A limited number of questions wait:
beyond it a miss is answered at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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

_LOOKS = 2
"""Looks that must miss an address: a connection that lives can be missing from one (kernel.py)."""


@dataclass(slots=True)
class _Undecided:
    """A question that came after the kernel's last answer, from an address that had no connection.

    ``missed``: the looks since then in which it had none.
    """

    question: Question
    address: bytes
    missed: int = 0


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
        self._undecided: list[_Undecided] = []
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
                self._undecided.append(_Undecided(question, address))
        return at_once + self._strangers(now)

    def ready(self, now: float, *, grown: bool) -> list[Question]:
        """Take out the questions that have waited long enough.

        And, where the log has ``grown``, those whose login has come.
        """
        found = self._strangers(now)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            (found if self._over(one, now, grown=grown) else self._waiting).append(one)
        undecided, self._undecided = self._undecided, []
        for other in undecided:
            if self._over(other.question, now, grown=grown):
                found.append(other.question)
            else:
                self._undecided.append(other)
        return found

    def take(self) -> list[Question]:
        """Take out all questions."""
        found = self._waiting + [one.question for one in self._undecided]
        self._waiting, self._undecided = [], []
        return found

    def close(self) -> None:
        """Ask the kernel no more."""
        if self._kernel is not None:
            self._kernel.close()

    def _late(self, question: Question, now: float) -> bool:
        return now - question.arrived >= self._longest

    def _over(self, question: Question, now: float, *, grown: bool) -> bool:
        return self._late(question, now) or (grown and self._lookup.missing(question.key) is None)

    def _strangers(self, now: float) -> list[Question]:
        """Take out the questions of whose addresses the kernel knows no connection."""
        if not self._undecided or now < self._ask_again or not self._ask(now):
            return []
        strangers: list[Question] = []
        undecided, self._undecided = self._undecided, []
        for one in undecided:
            one.missed += 1
            if one.address in self._connected:
                self._waiting.append(one.question)
            elif one.missed >= _LOOKS:
                strangers.append(one.question)
            else:
                self._undecided.append(one)
        return strangers

    def _ask(self, now: float) -> bool:
        """Ask the kernel; whether it has answered."""
        if self._kernel is None:
            return False
        began = thread_time()
        try:
            known = self._kernel.look().known
        except SourceError as error:
            self._notices.warn("miss_wait", f"{error}; every miss waits for a login")
            return False
        finally:
            self._ask_again = now + _SHARE * (thread_time() - began)
        self._connected = frozenset(address for address, _ in known)
        return True
