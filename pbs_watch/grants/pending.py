"""What is not yet committed, visible to lookups.

Changes are collected in one batch while the one before is being committed by another thread.  A
batch that was handed over is not touched any more; one that could not be committed is merged with
what came after it and tried again, so that a full disk loses nothing.
"""

from __future__ import annotations

from pbs_watch.grants.changes import Changes, SessionKey


class Pending:
    """The batch in the making and the one that is being committed."""

    def __init__(self) -> None:
        self.making = Changes()
        self._committing: Changes | None = None

    @property
    def committing(self) -> bool:
        """Whether a batch has been handed over and neither succeeded nor failed yet."""
        return self._committing is not None

    def hand_over(self) -> Changes:
        """The batch made so far, to be committed; a new one is begun."""
        if self._committing is not None:
            raise RuntimeError("a batch is being committed already")
        self._committing, self.making = self.making, Changes()
        return self._committing

    def committed(self) -> None:
        """The batch handed over is in the map."""
        self._committing = None

    def failed(self) -> None:
        """The batch handed over is not in the map: what was made since is added to it.

        Costs what was made since, not what has gathered while the map could not be written.  That
        is bounded by how many addresses and users there are.
        """
        batch = self._committing
        if batch is not None:
            batch.append(self.making)
            self.making = batch
            self._committing = None

    def allows(self, address: bytes, now: float) -> bool:
        """Whether what is not yet committed alone lets ``address`` relay."""
        held = False
        for changes in self._changes():
            grant = changes.grants.get(address)
            if grant is not None and grant.expires > now:
                return True
            held = held or address in changes.sessions
        return held and any(
            until is not None and until > now for until in self.sessions(address).values()
        )

    def sessions(self, address: bytes) -> dict[SessionKey, float | None]:
        """What is known of the sessions of ``address`` beyond the map: open until, or ended."""
        known: dict[SessionKey, float | None] = {}
        for changes in self._changes():
            known.update(changes.sessions.get(address, {}))
        return known

    def _changes(self) -> tuple[Changes, ...]:
        """All that is not yet committed, the oldest first."""
        committing = self._committing
        return (self.making,) if committing is None else (committing, self.making)
