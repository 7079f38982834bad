"""When what was read is written to the map: batches, failures, and a map that broke.

Nothing here waits for the disk: the writer's thread does.  What cannot be written stays pending,
visible to lookups, and is tried again with what came after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from pbs_watch.errors import MapError, UnpackableError
from pbs_watch.grants import rows
from pbs_watch.grants.pending import Pending
from pbs_watch.grants.store import Map
from pbs_watch.grants.writer import Writer
from pbs_watch.notices import Notices

log = logging.getLogger("pbs_watch")

COMMIT_AFTER = 0.1
"""Seconds that changes are collected before they are committed together."""

RETRY_AFTER = 1.0
"""Seconds before a batch that could not be committed is tried again."""


@dataclass(slots=True)
class Count:
    """Commits since the start: how many, how many of them failed, and the seconds they took."""

    all: int = 0
    failed: int = 0
    seconds: float = 0.0


class Commits:
    """Hands batches to the writer and collects how they went.

    ``save`` adds the places of the sources to the batch in the making.  ``counts`` tells how many
    there were.
    """

    def __init__(
        self,
        grants: Map,
        pending: Pending,
        writer: Writer,
        *,
        save: Callable[[], None],
        notices: Notices,
    ) -> None:
        self._map = grants
        self._pending = pending
        self._writer = writer
        self._save = save
        self._notices = notices
        self._at: float | None = None
        self._unwritten = ""
        self._mend_again = 0.0
        self._began = 0.0
        self.counts = Count()

    @property
    def failing(self) -> str:
        """Why the last commit failed; empty: it did not."""
        return self._unwritten

    def soon(self) -> None:
        """Something has been added that is to be committed."""
        if self._at is None:
            self._at = monotonic() + COMMIT_AFTER

    @property
    def due(self) -> float | None:
        """When the next commit begins (monotonic seconds); ``None``: nobody can tell."""
        return None if self._pending.committing else self._at

    def collect(self, now: float) -> None:
        """See how the commit that goes on went, if it has ended."""
        if not self._pending.committing:
            return
        ended, error = self._writer.result()
        if not ended:
            return
        self.counts.all += 1
        self.counts.failed += error is not None
        self.counts.seconds += now - self._began
        if error is None:
            self._pending.committed()
            if self._unwritten:
                self._unwritten = ""
                self._notices.told("commit", f"{self._map.path}: can be written again")
            return
        self._pending.failed()
        if isinstance(error, UnpackableError) and self._left_out():
            self._at = now
            return
        self._at = now + RETRY_AFTER
        if str(error) != self._unwritten:
            self._unwritten = str(error)
            self._notices.note(str(error))
            self._notices.told("commit", str(error), level=logging.ERROR)

    def _left_out(self) -> int:
        """Leave out what other hosts told and no row can hold, or nothing is ever written again."""
        # What was read here has a place, and is never left out.
        left = self._pending.making.leave_out(lambda one: not one.source and not rows.fits(one))
        if left:
            self._notices.warn(
                "learned",
                f"left out {left} logins that other hosts told: no row can hold their times",
            )
        return left

    def begin(self, now: float) -> None:
        """Hand a batch over if it is time."""
        if self._at is None or now < self._at or self._pending.committing:
            return
        self._at = None
        self._save()
        if self._pending.making:
            self._began = now
            self._writer.commit(self._pending.hand_over())

    def mend(self, now: float) -> None:
        """Open a broken map again, while the writer has nothing to do with it."""
        if self._pending.committing or self._writer.tidying or now < self._mend_again:
            return
        try:
            self._map.reopen()
        except MapError as error:
            self._mend_again = now + RETRY_AFTER
            self._notices.map_trouble(error)

    def finish(self) -> None:
        """Commit what there is, and wait for it as long as the writer does."""
        error = self._last()
        self._save()
        if self._pending.making and not self._writer.stuck:
            self._writer.commit(self._pending.hand_over())
            error = self._writer.wait()
        if error is not None:
            log.error("%s; what is not written is read again at the next start", error)

    def _last(self) -> MapError | None:
        """Wait for the commit that is going on, and return its error if it is the last one."""
        if not self._pending.committing:
            return None
        error = self._writer.wait()
        if error is None:
            self._pending.committed()
        else:
            self._pending.failed()
        return error if self._writer.stuck else None
