"""The thread that tells the engine of each login at once, before it is on the disk.

It does nothing else and waits for nothing but the engine, since another host may be asked for the
address at any moment.  What it cannot send it drops: the outbox, written with the login, has it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice
from queue import Empty, SimpleQueue

from pbs_watch.grants import rows
from pbs_watch.grants.changes import Grant
from pbs_watch.shared.engine import Engine, Shared

TOGETHER = 500
"""Logins sent in one round trip."""

_REMEMBERED = 100_000
"""Logins that were sent and whose rows of the outbox are still to come."""


class Express:
    """Sends through ``engine``, which belongs to it; ``count``: how many logins were sent."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self._engine = engine
        self._news: SimpleQueue[Mapping[bytes, Grant] | None] = SimpleQueue()
        self._sent: dict[bytes, bytes] = {}
        self._thread = threading.Thread(target=self._work, name="shared-express", daemon=True)

    def begin(self) -> None:
        """Start working."""
        self._thread.start()

    def send(self, news: Mapping[bytes, Grant]) -> None:
        """Send logins, by their keys."""
        self._news.put(news)

    def has_sent(self, key: bytes, expires: bytes) -> bool:
        """Whether a login was sent with that expiry, packed; for another thread to ask."""
        return self._sent.get(key) == expires

    def forget(self, key: bytes) -> None:
        """The row of the outbox is gone, and nobody will ask again."""
        self._sent.pop(key, None)

    def end(self) -> None:
        """Send what there is, and end."""
        self._news.put(None)

    def join(self, patience: float) -> None:
        """Wait for the end of the thread, so many seconds at most."""
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _work(self) -> None:
        try:
            while (news := self._news.get()) is not None:
                over = False
                found = dict(news)
                while len(found) < TOGETHER:
                    try:
                        more = self._news.get_nowait()
                    except Empty:
                        break
                    if more is None:
                        over = True
                        break
                    found.update(more)
                self._put(found)
                if over:
                    return
        finally:
            self._engine.close()

    def _put(self, news: Mapping[bytes, Grant]) -> None:
        items = iter(news.items())
        while some := list(islice(items, TOGETHER)):
            try:
                self._engine.put([shared(key, grant) for key, grant in some])
            except Exception:  # noqa: BLE001 - the turns meet the same and say it
                return
            self.count += len(some)
            if len(self._sent) > _REMEMBERED:
                self._sent.clear()
            for key, grant in some:
                self._sent[key] = rows.pack_time(grant.expires)


def shared(key: bytes, grant: Grant) -> Shared:
    """A login by its key, as the engine gets it."""
    address, user = rows.parse_login_key(key)
    return Shared(address, user, grant.service, grant.login, grant.expires)
