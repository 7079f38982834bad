r"""The daemon's live state, for ``status``, ``top`` and ``why``: told over a socket beside the map.

The socket speaks socketmap; the state has a reserved name there, every other name is unknown.  It
shows addresses and users, so only the daemon's user and group may connect.

The state is one JSON object, in ASCII.  Counts are since the start, times in epoch seconds; names
and messages are as the log has them, control characters included; a byte that is not UTF-8 stands
as ``\udcXX`` (Python's surrogateescape).

================  ==========================================================================
version, pid      of the daemon
started, now      when it started, and when this was said; ``uptime``: the seconds between,
                  whatever the clock was set to meanwhile
map               ``path``, ``schema``, and the rows of ``grants``, ``logins``, ``sessions``
                  and ``orders``, and its ``bytes`` (or ``error`` instead); rows that are over
                  count until they are swept, some seconds later
settings          ``window`` and ``session_limit`` in seconds, ``cuts``, ``witness``,
                  ``shadow``; ``digests``: of each setting, for ``doctor`` to compare
sources           a list, see below
formats           logins and ends by the format that they fit
logins, ends      how many were accepted
refused           how many were not, by the reason (:class:`pbs_watch.grants.judge.Judged`)
alarms            how many were accepted though a limit or the witness was against it
cuts              messages that were cut
near              near misses; ``near_misses``: the last ten of them, each with ``time`` (or
                  null), ``host``, ``tag``, ``format`` and ``message`` (200 bytes of it)
lookups           by answer: ``found``, ``absent``, ``unknown`` (cannot say); ``names`` asked
                  for no address; ``limited`` were over the relay limit, and count among the
                  first three as well; ``shadowed`` would have been found but for ``shadow``
latency           null, or where metrics are collected: lookups by how long they took
                  (``counts``, see :mod:`pbs_watch.answer.latency`), and their ``seconds``
shared            how sharing grants goes (:class:`pbs_watch.shared.counts.Counts`), or null
commits           ``count`` of the batches written to the map, how many ``failed``, the
                  ``seconds`` it took, and the ``error`` of the last one, or empty
warnings          how many there were; ``last_warning``: the latest, or empty
dropped           lines of the daemon's log that nobody read in time
================  ==========================================================================

Of a source: its ``name``; the ``lines`` and ``bytes`` read; the ``rate`` in bytes per second
lately; the bytes ``waiting`` as of the last look, and its ``lag``, by how many seconds its latest
line is in the past while any wait; the time of its ``latest`` line (or null); whether it is
``readable``; ``searching``: whether its place is looked for in compressed files, so that nobody
knows how much waits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from pbs_watch import __version__
from pbs_watch.config import digests
from pbs_watch.errors import MapError
from pbs_watch.grants.address import literal
from pbs_watch.grants.rows import SCHEMA
from pbs_watch.notices import dropped

if TYPE_CHECKING:  # who only asks is to be quick
    from pbs_watch import chain
    from pbs_watch.answer.latency import Latency
    from pbs_watch.answer.lookup import Lookup
    from pbs_watch.commits import Commits
    from pbs_watch.config import Config
    from pbs_watch.grants.events import NearMiss
    from pbs_watch.grants.store import Map
    from pbs_watch.notices import Notices
    from pbs_watch.reading import Followed, Reading
    from pbs_watch.shared.counts import Counts

NAME = b"pbs-watch"
"""The reserved name under which the live state is asked for."""

SOCKET = "live"
"""The socket's file in the map's directory."""

STATUS = b"status"
"""The key of the whole state."""

ASKED = b"asked "
"""What stands before an address to ask when it was looked up last."""

ROWS = (b"grants", b"logins", b"sessions", b"orders")
"""The tables of the map whose rows are counted."""


class Live:
    """Answers questions for the daemon's state; never raises."""

    def __init__(
        self,
        config: Config,
        grants: Map,
        *,
        reading: Reading,
        counts: chain.Counts,
        lookup: Lookup,
        notices: Notices,
        commits: Commits,
        latency: Latency | None,
        shared: Callable[[], Counts | None],
    ) -> None:
        self._shared = shared
        self.config = config
        """The settings that count now."""
        self._map = grants
        self._reading = reading
        self._counts = counts
        self._lookup = lookup
        self._asked = lookup.asked
        self._notices = notices
        self._commits = commits
        self._latency = latency
        self._started = time()
        self._began = monotonic()
        self._also: dict[bytes, Callable[[bytes], object]] = {}

    def also(self, word: bytes, tell: Callable[[bytes], object]) -> None:
        """Answer keys that begin with ``word`` too; ``tell`` gets the rest and gives JSON's."""
        self._also[word] = tell

    def answer(self, key: bytes) -> bytes | None:
        """The state as JSON, in ASCII; ``None`` for a key that is not known."""
        if key == STATUS:
            return json.dumps(self.status()).encode()
        word, _, rest = key.partition(b" ")
        if (tell := self._also.get(word)) is not None:
            return json.dumps(tell(rest)).encode()
        if key.startswith(ASKED):
            address = literal(key.removeprefix(ASKED))
            if address is not None:
                return json.dumps(self._about(address)).encode()
        return None

    def summary(self) -> str:
        """How the daemon is, in a line for people: no addresses, no users."""
        state = self.status()
        lookups = state["lookups"]
        answered = lookups["found"] + lookups["absent"] + lookups["unknown"]
        known = state["map"]
        words = [
            f"{known['grants']:,} grants" if "grants" in known else "the map cannot be read",
            f"{state['logins']:,} logins and {answered:,} lookups since the start",
            *(_following(one) for one in state["sources"]),
        ]
        return "; ".join(words)

    def forget(self, before: float) -> None:
        """Show nothing any more that was said by others before a time (epoch seconds)."""
        self._counts.forget_misses(before)
        self._notices.forget(before)

    def _about(self, address: bytes) -> dict[str, object]:
        """When an address was looked up last, and what lookups of it meet beside the grants."""
        last = self._asked.last(address)
        return {
            "time": None if last is None else last[0],
            "answer": None if last is None else last[1].value,
            "shadow": self.config.shadow,
            "limited": self._lookup.limits(address),
        }

    def status(self) -> dict[str, Any]:
        """The state, as JSON takes it."""
        counts, judged, now = self._counts, self._counts.judged, time()
        config = self.config
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self._started,
            "now": now,
            "uptime": round(monotonic() - self._began, 3),
            "map": {"path": str(config.map), "schema": SCHEMA.decode(), **self._rows()},
            "settings": {
                "window": config.window,
                "session_limit": config.session_limit,
                "cuts": config.cuts,
                "witness": config.witness,
                "shadow": config.shadow,
                "digests": digests(config),
            },
            "sources": [_source(one, now) for one in self._reading.followed],
            "formats": dict(counts.hits),
            "logins": judged.logins,
            "ends": judged.ends,
            "refused": {**judged.refused, "suspect": counts.suspect},
            "alarms": judged.alarms,
            "cuts": counts.cuts,
            "near": counts.near,
            "near_misses": [_near(miss) for miss in counts.misses],
            "lookups": {name: getattr(self._asked, name) for name in _ANSWERS},
            "latency": self._latencies(),
            "commits": {
                "count": self._commits.counts.all,
                "failed": self._commits.counts.failed,
                "seconds": round(self._commits.counts.seconds, 6),
                "error": self._commits.failing,
            },
            "shared": None if (shared := self._shared()) is None else asdict(shared),
            "warnings": self._notices.total,
            "last_warning": self._notices.last,
            "dropped": dropped(),
        }

    def _latencies(self) -> dict[str, object] | None:
        if self._latency is None:
            return None
        return {"counts": list(self._latency.counts), "seconds": self._latency.seconds}

    def _rows(self) -> dict[str, object]:
        try:
            with self._map.reading() as tables:
                rows = {name.decode(): tables.count(name) for name in ROWS}
            return {**rows, "bytes": self._map.size()}
        except MapError as error:
            return {"error": str(error)}


_ANSWERS = ("found", "absent", "unknown", "names", "limited", "shadowed")


def _source(followed: Followed, now: float) -> dict[str, object]:
    latest = followed.latest
    behind = followed.waiting and latest is not None
    return {
        "name": followed.source.name,
        "lines": followed.lines,
        "bytes": followed.bytes,
        "rate": round(followed.rate.now(monotonic()), 3),
        "waiting": followed.waiting,
        "lag": round(max(now - latest, 0.0), 3) if behind and latest is not None else 0.0,
        "latest": latest,
        "readable": not followed.source.blind,
        "searching": bool(getattr(followed.source, "unsure", False)),
    }


def _following(source: Mapping[str, Any]) -> str:
    if not source["readable"]:
        return f"{source['name']} cannot be read"
    if source["searching"]:
        return f"searching the place in {source['name']}"
    behind = f", {source['waiting']:,} bytes behind" if source["waiting"] else ""
    return f"following {source['name']}{behind}"


def _near(miss: NearMiss) -> dict[str, object]:
    return {
        "time": miss.time,
        "host": miss.host.decode("utf-8", "surrogateescape"),
        "tag": miss.tag.decode("utf-8", "surrogateescape"),
        "format": miss.format,
        "message": miss.message.decode("utf-8", "surrogateescape"),
    }
