"""Whether sharing grants works from this host: for ``pbs-watch shared check`` and the doctor.

:func:`look` opens the engine as the daemon does and tries everything that the daemon does, on an
address that no mail client has (192.0.2.255, of the range for documentation), and looks at the
settings of the server on which the promises rest.  It takes a few round trips, and some seconds
where a server does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Literal

from pbs_watch.config import Config
from pbs_watch.errors import PbsWatchError, SharedError
from pbs_watch.shared.engine import Engine, Shared
from pbs_watch.shared.open import redis_engine, sql_engine
from pbs_watch.shared.where import Where, where

if TYPE_CHECKING:
    from pbs_watch.shared.redis_engine import RedisEngine
    from pbs_watch.shared.sql_engine import SqlEngine

PROBE = Shared(b"192.0.2.255", b"pbs-watch-check", b"check", 0.0, 0.0)

_CLOCKS = 2.0
"""Seconds by which two clocks may differ before it is said."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``level`` ``bad``: it does not work."""

    level: Literal["good", "warn", "bad"]
    text: str


def look(config: Config) -> list[Finding]:
    """All findings; never raises."""
    if not config.shared:
        return [Finding("good", "grants are not shared with other hosts")]
    found = list(_files(config))
    try:
        place = where(config)
        if place.engine == "redis":
            redis = redis_engine(place)
            found += _tried(redis, place, lambda: _redis(redis, place))
        else:
            sql = sql_engine(place, config.window)
            found += _tried(sql, place, lambda: _mysql(sql, place))
    except PbsWatchError as error:
        found.append(Finding("bad", str(error)))
    return found


def bad(findings: list[Finding]) -> bool:
    """Whether something does not work."""
    return any(finding.level == "bad" for finding in findings)


def _files(config: Config) -> Iterator[Finding]:
    """Secrets that everybody on this host may read."""
    paths = [config.shared_password_file, config.shared_key_file]
    if config.shared.startswith("mysql:") and not config.shared.startswith("mysql://"):
        paths.append(Path(config.shared.removeprefix("mysql:")))
    for path in filter(None, paths):
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116 - the mode alone
        except OSError:
            continue  # said where it is read
        if mode & 0o004:
            text = f"{path}: everybody on this host can read the secret in it; chmod 640 {path}"
            yield Finding("warn", text)


def _tried(
    opened: Engine, place: Where, settings: Callable[[], Iterator[Finding]]
) -> Iterator[Finding]:
    try:
        opened.mark()
        yield Finding("good", f"{place} answers")
        _try(opened)
        yield Finding("good", "a login can be written, found and removed there")
        yield from settings()
    except PbsWatchError as error:
        yield Finding("bad", str(error))
    finally:
        opened.close()


def _try(opened: Engine) -> None:
    """Write, find and remove a login; raises SharedError where that is not what it does."""
    now = time()
    login = PROBE._replace(login=now, expires=now + 10.0)
    opened.put([login])
    found = opened.find([login.address], now)
    opened.forget(login.user)
    if login.address not in found.logins:
        raise SharedError("what is written there is not found a moment later; see its replication")
    opened.records()


def _redis(opened: RedisEngine, place: Where) -> Iterator[Finding]:
    yield from _clock(opened.clock())
    policy = opened.setting("maxmemory-policy")
    if policy not in {None, "noeviction"}:
        text = f"maxmemory-policy is {policy}: it drops grants when memory is short"
        yield Finding("warn", f"{text}; set noeviction")
    if opened.setting("appendonly") == "no":
        text = "appendonly is no: after a restart it is empty until the hosts have offered it"
        yield Finding("warn", f"{text} their grants again, which they do by themselves")
    told = opened.section("replication")
    if place.sentinel and not told.get("connected_slaves"):
        yield Finding("warn", "the master has no replica: Sentinel has nowhere to go")


def _mysql(opened: SqlEngine, place: Where) -> Iterator[Finding]:
    yield from _clock(float(opened.ask("SELECT UNIX_TIMESTAMP(NOW(6))")[0][0]))
    cluster = dict(opened.ask("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'"))
    nodes = int(cluster.get("wsrep_cluster_size", 0) or 0)
    if nodes:
        yield Finding("good" if nodes > 2 else "warn", f"the Galera cluster has {nodes} nodes")
    if len(place.servers) == 1:
        yield Finding("warn", "one server only: name a second one, for the day when it is away")


def _clock(theirs: float) -> Iterator[Finding]:
    apart = theirs - time()
    if abs(apart) > _CLOCKS:
        text = f"its clock is {apart:+.0f} s off ours"
        yield Finding("warn", f"{text}: run NTP on both, grants end by the clock")
