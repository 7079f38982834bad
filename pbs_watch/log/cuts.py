"""Which messages stand where a piece of a cut line may stand (facts/courier.md, "Forged lines").

Courier's logger breaks a long line in two or three and logs each piece as a message of its own, so
that a client can place any text at the start of what looks like a message.  After a cut, per host
and tag:

* the next message is suspect whenever it comes, since the logger waits for more input before it
  logs the second piece;
* that message may be cut itself although it looks short (leading spaces and a prefix are
  stripped), so the one after it is suspect as well whenever it comes: a line has at most three
  pieces;
* from each of the two on, everything of the tag is suspect until 4096 bytes have been logged or
  one second of the lines' own time has passed, whichever ends first: the logger's second buffer
  may end in the middle of another line.  Stamps without a fraction are cut off, so there two
  seconds are needed to be sure of one.

A gap (the position was lost, or bytes were lost unseen) has the effect of a cut on every tag,
whenever its next message comes.

``cuts = next`` takes only the one next message as suspect, ``cuts = off`` none.

The state is a value: :meth:`Cuts.dump` and :meth:`Cuts.load` carry it over a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pbs_watch.pattern.format import Cut

Mode = Literal["strict", "next", "off"]

Tag = tuple[bytes, bytes]
"""Host and tag: what a logger writes under."""

_CAREFUL = 1 << 20
"""Bytes after a gap in which every message is looked at.  A tag that is first seen later is judged
by the messages that may matter alone: some that are over their doubt then still count as suspect.
"""

_TAGS = 4096
"""Hosts and tags that are remembered; a peer that makes up more hosts puts all under doubt."""

_PIECES_TO_COME = {"strict": 2, "next": 1, "off": 0}


@dataclass(slots=True)
class _Doubt:
    """How much of one tag is still suspect.

    ``coming``: messages that are suspect whenever they come.  ``since``: when the last of them
    came (epoch seconds), ``None`` before the first.  ``left``: bytes that may still be logged.
    """

    coming: int
    since: float | None = None
    left: int = 0

    def over(self) -> bool:
        return self.coming == 0 and self.left <= 0


class Cuts:
    """The tags of one source that are under doubt after a cut or a gap."""

    def __init__(self, mode: Mode = "strict") -> None:
        self._mode = mode
        self._doubts: dict[Tag, _Doubt] = {}
        self._open = 0
        self._gap = False
        self._careful = 0
        self.gaps = 0
        """How often lines may have been lost, whatever the mode, since this was made."""
        self.version = 0
        """Grows with every change, so that a caller knows when to save the state again."""

    def judge_as(self, mode: Mode) -> None:
        """Judge what comes from now on by another mode; doubts that there are end as they began."""
        if mode != self._mode:
            self._mode = mode
            if mode == "off":
                self._doubts.clear()
                self._open, self._gap, self._careful = 0, False, 0
            self.version += 1

    @property
    def active(self) -> bool:
        """Whether every message of the tags must be shown, not only those that may matter."""
        return self._open > 0 or self._careful > 0

    @property
    def settled(self) -> bool:
        """Whether nothing is under doubt: what follows is judged as if nothing came before it."""
        return not self.active and not self._gap

    def clean(self) -> Cuts:
        """The state of a source in which nothing was cut, with the same mode."""
        return Cuts(self._mode)

    @property
    def gapped(self) -> bool:
        """Whether there was a gap, so that some tags may be unsettled."""
        return self._gap

    def unsettled(self, tag: Tag) -> bool:
        """Whether ``tag`` has not been seen since a gap, so that its messages must be shown."""
        return self._gap and tag not in self._doubts

    def passed(self, size: int) -> None:
        """``size`` bytes of the log were gone through while :attr:`active`."""
        self._careful = max(self._careful - size, 0)

    def cut(self, tag: Tag) -> None:
        """A message of ``tag`` was cut."""
        if self._mode != "off":
            old = self._doubts.get(tag)
            self._open += old is None or old.over()
            self._doubts[tag] = _Doubt(_PIECES_TO_COME[self._mode])
            self.version += 1

    def gap(self) -> None:
        """Lines may have been lost before what comes next: every tag is under doubt."""
        self.gaps += 1
        self.doubt_all()

    def doubt_all(self) -> None:
        """Every tag is under doubt."""
        if self._mode != "off":
            self._doubts.clear()
            self._open = 0
            self._gap = True
            self._careful = _CAREFUL
            self.version += 1

    def suspect(
        self, tag: Tag, rule: Cut, time: float | None, size: int, *, fraction: bool
    ) -> bool:
        """Whether the message of ``size`` bytes that was logged at ``time`` is suspect.

        To be called once for each message of a tag with cut rules while :attr:`active`, and of an
        unsettled tag always, in the order of the log and before :meth:`cut` for the same message.
        A message whose stamp cannot be read (``time`` is ``None``) ends no doubt.
        """
        doubt = self._doubts.get(tag)
        if doubt is None:
            if not self._gap:
                return False
            if len(self._doubts) >= _TAGS:
                self.doubt_all()
            doubt = self._doubts[tag] = _Doubt(_PIECES_TO_COME[self._mode])
            self._open += 1
        if doubt.over():
            return False
        self.version += 1
        if doubt.coming:
            doubt.coming -= 1
            doubt.since = time if time is not None else doubt.since
            doubt.left = rule.bytes - size if self._mode == "strict" else 0
        elif self._passed(doubt, rule, time, fraction=fraction):
            doubt.left = 0
            self._forget(tag)
            return False
        else:
            doubt.left -= size
        if doubt.over():
            self._forget(tag)
        return True

    @staticmethod
    def _passed(doubt: _Doubt, rule: Cut, time: float | None, *, fraction: bool) -> bool:
        if doubt.since is None or time is None:
            return False
        elapsed = time - doubt.since
        return elapsed > rule.seconds if fraction else elapsed >= rule.seconds + 1

    def _forget(self, tag: Tag) -> None:
        self._open -= 1
        # After a gap a tag that is over its doubt must be remembered as such.
        if not self._gap:
            del self._doubts[tag]

    def dump(self) -> dict[str, object]:
        """The state as a value that JSON can hold."""
        doubts = [
            [host.decode("latin-1"), tag.decode("latin-1"), doubt.coming, doubt.since, doubt.left]
            for (host, tag), doubt in self._doubts.items()
        ]
        return {"gap": self._gap, "careful": self._careful, "doubts": doubts}

    def load(self, state: dict[str, object]) -> None:
        """Take over what :meth:`dump` gave; raises ValueError, KeyError or TypeError otherwise."""
        if self._mode == "off":
            return
        self._gap = bool(state["gap"])
        self._careful = int(str(state["careful"]))
        self._doubts.clear()
        rows = state["doubts"]
        if not isinstance(rows, list):
            raise TypeError("doubts is not a list")
        for host, tag, coming, since, left in rows:
            doubt = _Doubt(int(coming), None if since is None else float(since), int(left))
            self._doubts[host.encode("latin-1"), tag.encode("latin-1")] = doubt
        self._open = sum(not doubt.over() for doubt in self._doubts.values())
        self.version += 1
