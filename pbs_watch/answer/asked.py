"""What was asked lately, and how it was answered: for the operator to look at.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pbs_watch.answer.verdict import Verdict

_FOUND, _ABSENT = Verdict.FOUND, Verdict.ABSENT

_KEPT = 32768
"""Addresses of a generation: two of them are remembered, some 10 MB."""


@dataclass(slots=True)
class Asked:
    """Counts lookups by their answers, and remembers the last one of each address.

    ``names`` asked for something else than an address.  ``limited``: permitted but for the relay
    limit; ``shadowed``: permitted but for the shadow.
    """

    found: int = 0
    absent: int = 0
    unknown: int = 0
    names: int = 0
    limited: int = 0
    shadowed: int = 0
    _young: dict[bytes, tuple[float, Verdict]] = field(default_factory=dict)
    _old: Mapping[bytes, tuple[float, Verdict]] = field(default_factory=dict)

    def note(self, address: bytes, now: float, verdict: Verdict) -> None:
        """A lookup of ``address`` was answered at ``now`` (epoch seconds): count and remember."""
        if verdict is _FOUND:
            self.found += 1
        elif verdict is _ABSENT:
            self.absent += 1
        else:
            self.unknown += 1
        if len(self._young) >= _KEPT and address not in self._young:
            self._young, self._old = {}, self._young
        self._young[address] = (now, verdict)

    def last(self, address: bytes) -> tuple[float, Verdict] | None:
        """When ``address`` was asked for last, and the answer; ``None``: not lately."""
        return self._young.get(address) or self._old.get(address)

    def forget(self) -> None:
        """Forget all addresses."""
        self._young, self._old = {}, {}

    def forget_before(self, when: float) -> None:
        """Forget the addresses that were not asked for since."""
        self._young = {key: last for key, last in self._young.items() if last[0] >= when}
        self._old = {key: last for key, last in self._old.items() if last[0] >= when}
