"""Whether sharing grants works from this host: for ``pbs-watch shared check`` and the doctor.

:func:`look` opens the engine as the daemon does and tries what the daemon does, and looks at the
settings of the server on which the promises rest.  Where it may write, it does so for an address
that no mail client has (192.0.2.255, of the range for documentation), and removes that again.  It
takes a few round trips, and some seconds where a server does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from pbs_watch.config import Config
from pbs_watch.doctor.finding import Finding, Level, fine, look, many, wrong
from pbs_watch.errors import PbsWatchError, SharedError
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import record_of
from pbs_watch.shared.engine import Engine, Shared
from pbs_watch.shared.open import redis_engine, sql_engine
from pbs_watch.shared.sql_authpfix import Old
from pbs_watch.shared.where import Where, file_of, where

if TYPE_CHECKING:
    from pbs_watch.shared.redis_engine import RedisEngine
    from pbs_watch.shared.sql_engine import SqlEngine

PROBE = Shared(b"192.0.2.255", b"pbs-watch-check", b"check", 0.0, 0.0)

_CLOCKS = 2.0
"""Seconds by which two clocks may differ before it is said."""

_AWAY = ("cannot be reached", "does not answer", "cannot be used", "is not part of")
"""What is said of an engine that is away."""

_MEANWHILE = "what that means meanwhile: docs/shared.rst, What happens when"

_EXPIRES = 120.0
"""Seconds: twice what the daemon takes to remove rows of the old layout that are over."""

_ENOUGH = 3
"""Nodes of a Galera cluster: with two, either alone is no majority."""


def judge(config: Config, *, writing: bool) -> list[Finding]:
    """All findings; never raises.  ``writing``: a login may be written and removed."""
    if not config.shared:
        return [fine("shared-engine", "grants are not shared with other hosts (shared = none)")]
    found = list(_files(config))
    try:
        place = where(config)
        if place.engine == "redis":
            redis = redis_engine(place)
            found += _tried(redis, place, lambda: _redis(redis, place), writing=writing)
        else:
            sql = sql_engine(place, config.window)
            found += _tried(sql, place, lambda: _mysql(sql, place), writing=writing)
    except PbsWatchError as error:
        found.append(_trouble(error))
    return found


def bad(findings: list[Finding]) -> bool:
    """Whether something does not work."""
    return any(finding.level is Level.WRONG for finding in findings)


def _trouble(error: PbsWatchError) -> Finding:
    # Its text says itself what mends it, where anybody knows.
    away = isinstance(error, SharedError) and any(words in str(error) for words in _AWAY)
    return wrong("shared-engine", str(error), _MEANWHILE if away else "")


def _files(config: Config) -> Iterator[Finding]:
    """Secrets that everybody on this host may read."""
    paths = [config.shared_password_file, config.shared_key_file]
    if (named := file_of(config.shared)) is not None:
        paths.append(Path(named))
    for path in filter(None, paths):
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116 - the mode alone
        except OSError:
            continue  # said where it is read
        if mode & 0o004:
            yield look(
                "shared-secret",
                f"{path}: everybody on this host can read the secret in it",
                f"chgrp pbs-watch {path}; chmod 640 {path}",
            )


def _tried(
    opened: Engine,
    place: Where,
    settings: Callable[[], Iterator[Finding]],
    *,
    writing: bool,
) -> Iterator[Finding]:
    try:
        opened.find([PROBE.address], time())
        opened.records()
        yield fine("shared-engine", f"{place} answers")
        if writing:
            opened.mark()
            _write(opened)
            yield fine("shared-login", "a login can be written, found and removed there")
        yield from settings()
    except PbsWatchError as error:
        yield _trouble(error)
    finally:
        opened.close()


def _write(opened: Engine) -> None:
    """Write, find and remove a login; raises SharedError where that is not what it does."""
    now = time()
    login = PROBE._replace(login=now, expires=now + 10.0)
    opened.put([login])
    found = opened.find([login.address], now)
    opened.forget(login.user)
    # A table that knows no users forgets by the address.
    bar = Bar("network", login.address, now, now)
    opened.remove(record_of(bar, login.user.decode()))
    if login.address not in found.logins:
        raise SharedError("what is written there is not found a moment later; see its replication")
    if login.address in opened.find([login.address], now).logins:
        raise SharedError(
            f"{login.address.decode()}, written for this check, could not be removed; remove it "
            "by hand, and see the account's rights (DELETE)"
        )


def _redis(opened: RedisEngine, place: Where) -> Iterator[Finding]:
    yield from _clock(opened.clock())
    policy = opened.setting("maxmemory-policy")
    if policy not in {None, "noeviction"}:
        yield look(
            "shared-server",
            f"maxmemory-policy is {policy}: it drops grants when memory is short",
            "set maxmemory-policy noeviction",
        )
    if opened.setting("appendonly") == "no":
        yield look(
            "shared-server",
            "appendonly is no: after a restart it is empty until the hosts have offered their "
            "grants again, which they do by themselves",
            "set appendonly yes, where you do not want it so",
        )
    told = opened.section("replication")
    if place.sentinel and not told.get("connected_slaves"):
        yield look(
            "shared-server",
            "the master has no replica, so that Sentinel has nowhere to go",
            "see its replicas' logs",
        )


def _mysql(opened: SqlEngine, place: Where) -> Iterator[Finding]:
    opened.check_tables()
    if isinstance(opened.layout, Old):
        yield from _old_rows(opened, opened.layout)
    yield from _clock(float(opened.ask("SELECT UNIX_TIMESTAMP(NOW(6))")[0][0]))
    cluster = dict(opened.ask("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'"))
    nodes = int(cluster.get("wsrep_cluster_size", 0) or 0)
    if nodes >= _ENOUGH:
        yield fine("shared-server", f"the Galera cluster has {nodes} nodes")
    elif nodes:
        yield look(
            "shared-server",
            f"the Galera cluster has {nodes} of its nodes: it stands still when one more is gone",
            "start the others, or add one (garbd will do)",
        )
    if len(place.servers) == 1:
        yield look(
            "shared-server",
            "one server only is named",
            "name a second one in shared, for the day when it is away",
        )


def _old_rows(opened: SqlEngine, layout: Old) -> Iterator[Finding]:
    """Rows that nobody has removed yet, and the daemon will: maps of other hosts may count them."""
    number = int(opened.ask(*layout.old(time() - _EXPIRES))[0][0])
    if number:
        are = f"{many(number, 'row')} of {layout.grants} {'is' if number == 1 else 'are'}"
        yield look(
            "shared-old",
            f"{are} older than window ({layout.window / 60:g} min) and will be deleted",
            "set window to at least the age that the maps of other hosts allow",
        )


def _clock(theirs: float) -> Iterator[Finding]:
    apart = theirs - time()
    if abs(apart) > _CLOCKS:
        yield look(
            "shared-clock",
            f"its clock is {apart:+.0f} s off ours, and grants end by the clock",
            "run NTP on both",
        )
