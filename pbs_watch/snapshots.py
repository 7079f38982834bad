"""The loop's state for other threads: they ask, the loop tells, and waits for nobody."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from typing import Any

State = Mapping[str, Any]


class Snapshots:
    """``tell`` makes the state, in the loop; ``wake`` makes the loop turn."""

    def __init__(self, tell: Callable[[], State], wake: Callable[[], None]) -> None:
        self._tell = tell
        self._wake = wake
        self._asked: queue.SimpleQueue[queue.SimpleQueue[State]] = queue.SimpleQueue()

    def ask(self, patience: float) -> State | None:
        """The state; ``None``: the loop does not answer for so many seconds."""
        answer: queue.SimpleQueue[State] = queue.SimpleQueue()
        self._asked.put(answer)
        self._wake()
        try:
            return answer.get(timeout=patience)
        except queue.Empty:
            return None

    def turn(self) -> None:
        """Tell whoever has asked.  To be called in the loop."""
        if self._asked.empty():
            return
        state = self._tell()
        while not self._asked.empty():
            self._asked.get_nowait().put(state)
