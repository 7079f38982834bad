"""``shared``: makes, checks and lists what several hosts share."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from dataclasses import asdict

from pbs_watch.commands.settings import settings
from pbs_watch.commands.state import safe_text
from pbs_watch.config import Config
from pbs_watch.durations import local
from pbs_watch.errors import UsageError
from pbs_watch.escape import shown
from pbs_watch.grants.records import Record, said
from pbs_watch.shared import health
from pbs_watch.shared.engine import Shared
from pbs_watch.shared.open import engine, redis_engine, require, sql_engine
from pbs_watch.shared.rights import ACL, RIGHTS, SENTINEL_ACL
from pbs_watch.shared.where import where

_LONGEST = 1000
"""Characters of a finding, which quotes what a server says."""


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for; 1 where a check finds that something does not work."""
    config = settings(arguments)
    if not config.shared:
        raise UsageError("no engine is named; say --shared URL, or shared = in the settings")
    if arguments.what == "init":
        return _init(config)
    if arguments.what == "list":
        return (_orders if arguments.orders else _list)(config, as_json=arguments.json)
    return _check(config, as_json=arguments.json)


def _init(config: Config) -> int:
    """Make the tables that are missing; Redis needs none."""
    place = where(config)
    if place.engine == "mysql":
        sql = sql_engine(place, config.window)
        with closing(sql):
            sql.make_tables()
        print(f"{place}: the tables are there; the daemon's account needs {RIGHTS} on them")
        return 0
    redis = redis_engine(place)
    with closing(redis):
        redis.mark()
    print(f"{place}: answers, and needs nothing to be made; its user, as redis-cli takes it:")
    print(f"ACL SETUSER pbs-watch on >PASSWORD {ACL}")
    if place.sentinel:
        print(f"and at each Sentinel:\nACL SETUSER pbs-watch on >PASSWORD {SENTINEL_ACL}")
    return 0


def _check(config: Config, *, as_json: bool) -> int:
    require(config)  # what cannot be used at all is an error, and no finding
    findings = health.judge(config, writing=True)
    if as_json:
        print(json.dumps([{**asdict(one), "level": one.level.value} for one in findings]))
    else:
        for finding in findings:
            print(safe_text(finding, _LONGEST))
    return 1 if health.bad(findings) else 0


def _list(config: Config, *, as_json: bool) -> int:
    """Print the logins that the engine keeps."""
    with closing(engine(where(config), config.window)) as opened:
        logins = sorted(opened.all(time.time()), key=lambda one: one[:2])
    if as_json:
        print(json.dumps([_object(login) for login in logins]))
        return 0
    for login in logins:
        end = "permanent" if login.expires is None else local(login.expires)
        names = map(shown, (login.address, login.user, login.service))
        # The old table has no time of what is permanent.
        began = local(login.login) if login.login else "-"
        print("\t".join([*names, began, end]))
    return 0


def _orders(config: Config, *, as_json: bool) -> int:
    """Print what it keeps of orders, also of those that have ended: others must not revive them."""
    with closing(engine(where(config), config.window)) as opened:
        records = sorted(opened.records(), key=lambda one: one.key)
    if as_json:
        print(json.dumps([_record(record) for record in records]))
        return 0
    for record in records:
        until = "" if record.until is None else local(record.until)
        if record.act == "allow" and record.until is None:
            until = "permanent"
        words = [*said(record), record.by, local(record.since), until, record.note]
        print("\t".join(shown(word.encode("utf-8", "surrogateescape")) for word in words))
    return 0


def _record(record: Record) -> dict[str, object]:
    what, subject = said(record)
    return {
        "what": what,
        "on": subject,
        "by": record.by,
        "since": record.since,
        "until": record.until,
        "note": record.note,
    }


def _object(login: Shared) -> dict[str, object]:
    return {
        "address": shown(login.address),
        "user": shown(login.user),
        "service": shown(login.service),
        "login": login.login or None,
        "expires": login.expires,
        "permanent": login.expires is None,
    }
