"""The thread that tells the engine of each login at once, before it is on the disk.

It does nothing else and waits for nothing but the engine, since another host may be asked for the
address at any moment.  What it cannot send it drops: the outbox, written with the login, has it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic

from pbs_watch.grants import rows
from pbs_watch.grants.changes import Grant
from pbs_watch.shared.engine import TOGETHER, Engine, login_of

_SPELL = 30.0
"""Seconds: what was slow is told for at least as long."""

_News = tuple[float, Mapping[bytes, Grant]]
"""When logins were read (monotonic seconds), and they."""

_REMEMBERED = 100_000
"""Logins that were sent and whose rows of the outbox are still to come."""


class Slowest:
    """The longest time that something took in the last half minute, or a little more.

    ``latest``: the longest since whoever looks has set it to 0.
    """

    __slots__ = ("_before", "_began", "_now", "latest")

    def __init__(self) -> None:
        self.latest = 0.0
        self._before = self._now = 0.0
        self._began = 0.0

    def note(self, took: float, now: float) -> None:
        """It took so long; ``now``: monotonic seconds."""
        if now - self._began > _SPELL:
            self._before, self._now, self._began = self._now, 0.0, now
        self._now = max(self._now, took)
        self.latest = max(self.latest, took)

    def of(self, now: float) -> float:
        """How long, as of ``now``; 0: there was nothing."""
        return max(self._before, self._now) if now - self._began <= 2 * _SPELL else 0.0


class Express:
    """Sends through ``engine``, which belongs to it; ``count``: how many logins were sent.

    ``slowest``: from when a login was read to when the engine had it.
    """

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self.slowest = Slowest()
        self._engine = engine
        self._news: SimpleQueue[_News | None] = SimpleQueue()
        self._sent: dict[bytes, bytes] = {}
        self._thread = threading.Thread(target=self._work, name="shared-express", daemon=True)

    def begin(self) -> None:
        """Start working."""
        self._thread.start()

    def send(self, news: Mapping[bytes, Grant]) -> None:
        """Send logins, by their keys."""
        self._news.put((monotonic(), news))

    def has_sent(self, key: bytes, expires: bytes) -> bool:
        """Whether a login was sent with that expiry, packed; for another thread to ask."""
        return self._sent.get(key) == expires

    def forget(self, key: bytes) -> None:
        """The row of the outbox is gone, and nobody will ask again."""
        self._sent.pop(key, None)

    def forget_all(self) -> None:
        """The data may be gone to which all was sent."""
        # What is being sent at this moment goes into the old one.
        self._sent = {}

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
                since, found = news[0], dict(news[1])
                while len(found) < TOGETHER:
                    try:
                        more = self._news.get_nowait()
                    except Empty:
                        break
                    if more is None:
                        over = True
                        break
                    found.update(more[1])
                if self._put(found):
                    self.slowest.note(monotonic() - since, monotonic())
                if over:
                    return
        finally:
            self._engine.close()

    def _put(self, news: Mapping[bytes, Grant]) -> bool:
        items = iter(news.items())
        while some := list(islice(items, TOGETHER)):
            if len(self._sent) > _REMEMBERED:
                self._sent = {}
            sent = self._sent
            try:
                self._engine.put([login_of(key, grant) for key, grant in some])
            except Exception:  # noqa: BLE001 - the turns meet the same and say it
                return False
            self.count += len(some)
            for key, grant in some:
                sent[key] = rows.pack_time(grant.expires)
        return True
