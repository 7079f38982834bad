"""What is not yet committed, visible to lookups.

Changes are collected in one batch while the one before is being committed by another thread.  A
batch that was handed over is not touched any more; one that could not be committed is merged with
what came after it and tried again, so that a full disk loses nothing.
"""

from __future__ import annotations

from pbs_watch.grants.changes import Changes, Grant, Hold, SessionKey
from pbs_watch.grants.orders import Orders


class Pending:
    """The batch in the making and the one that is being committed.

    ``orders``: those of the operator that what is shown of them obeys.  ``sharing``: whether other
    hosts are to be told of logins.
    """

    def __init__(self, *, sharing: bool = False) -> None:
        self.orders = Orders()
        self.making = Changes(sharing=sharing)
        self._sharing = sharing
        self._committing: Changes | None = None
        self._shown: Changes | None = None
        """The batch being committed without what was barred since it was handed over."""

    def share(self, *, sharing: bool) -> None:
        """Whether other hosts are to be told of logins from now on, these included."""
        if sharing == self._sharing:
            return
        self._sharing = sharing
        if sharing and self._shown is not None:
            # It is not touched any more: its logins are written, and told, with the next batch.
            for key, grant in self._shown.logins.items():
                if grant.source:
                    self.making.login(key[: key.index(b"\0")], grant)
        self.making.share(sharing=sharing)

    def obey(self, orders: Orders) -> None:
        """Orders were given: they win over what was made before them (design.md)."""
        self.orders = orders
        self.making = self.making.without(orders)
        self.making.orders = orders.version
        if self._shown is not None:
            self._shown = self._shown.without(orders)

    @property
    def committing(self) -> bool:
        """Whether a batch has been handed over and neither succeeded nor failed yet."""
        return self._committing is not None

    def hand_over(self) -> Changes:
        """The batch made so far, to be committed; a new one is begun."""
        if self._committing is not None:
            raise RuntimeError("a batch is being committed already")
        self._committing = self._shown = self.making
        self.making = Changes(self.orders.version, sharing=self._sharing)
        return self._committing

    def committed(self) -> None:
        """The batch handed over is in the map."""
        self._committing = self._shown = None

    def failed(self) -> None:
        """The batch handed over is not in the map: what was made since is added to it.

        Costs what was made since, not what has gathered while the map could not be written.  That
        is bounded by how many addresses and users there are.
        """
        batch = self._shown
        if batch is not None:
            if batch.sharing != self._sharing:
                batch.share(sharing=self._sharing)
            batch.append(self.making)
            self.making = batch
            self._committing = self._shown = None

    @property
    def grants_anything(self) -> bool:
        """Whether :meth:`allows` need be asked: some address is granted or has a session."""
        # Asked with every turn of the loop: a generator takes three times as long.
        making, shown = self.making, self._shown
        if making.grants or making.sessions:
            return True
        return shown is not None and bool(shown.grants or shown.sessions)

    def allows(self, address: bytes, now: float) -> bool:
        """Whether what is not yet committed alone lets ``address`` relay."""
        held = False
        for changes in self.changes():
            grant = changes.grants.get(address)
            if grant is not None and grant.expires > now:
                return True
            held = held or address in changes.sessions
        return held and any(
            hold is not None and hold.until > now for hold in self.sessions(address).values()
        )

    def grant(self, address: bytes) -> Grant | None:
        """The latest grant of ``address`` that is not yet committed."""
        found = [changes.grants[address] for changes in self.changes() if address in changes.grants]
        return found[-1] if found else None

    def sessions(self, address: bytes) -> dict[SessionKey, Hold | None]:
        """What is known of the sessions of ``address`` beyond the map: open, or ended."""
        known: dict[SessionKey, Hold | None] = {}
        for changes in self.changes():
            known.update(changes.sessions.get(address, {}))
        return known

    def changes(self) -> tuple[Changes, ...]:
        """All that is not yet committed, the oldest first."""
        shown = self._shown
        return (self.making,) if shown is None else (shown, self.making)
