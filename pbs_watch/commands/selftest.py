"""``selftest``: one marked login, from the syslog to its expiry, each link with its time.

With ``--scratch`` through a daemon of its own; otherwise through the running one, whose grant is
revoked at the end, whatever happens in between.  Exits with 1 where a link is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from pbs_watch.answer.client import NobodyAnswersError
from pbs_watch.commands.reasons import why_refused
from pbs_watch.commands.settings import formats_of, operator, settings
from pbs_watch.commands.state import State, safe_text, taken
from pbs_watch.commands.status import told
from pbs_watch.config import Config
from pbs_watch.doctor.places import Places
from pbs_watch.durations import seconds
from pbs_watch.errors import MapError, UsageError
from pbs_watch.grants import hand
from pbs_watch.grants.copy import keep_copy
from pbs_watch.grants.orders import Bar, Orders
from pbs_watch.grants.owner import carrying_out
from pbs_watch.grants.probe import DATA
from pbs_watch.grants.store import Map
from pbs_watch.log.journal import PREFIX
from pbs_watch.selftest.chain import Chain, links
from pbs_watch.selftest.line import CURES, NETWORKS, TAG, USER, Marked, refusal
from pbs_watch.selftest.scratch import scratch
from pbs_watch.selftest.steps import Step, follow, log_to_syslog

_BROKEN = 1

_WINDOW = 3.0
"""Seconds that the scratch daemon's grant lasts: long enough for all links before its end."""

_ELSEWHERE = "pbs-watch selftest --scratch shows the rest of the chain"


def run(arguments: argparse.Namespace) -> int:
    """Print each link as it comes; 1 where one is broken."""
    config = settings(arguments)
    patience = seconds(arguments.wait)
    places = Places(postfix=arguments.postfix_config)
    steps = (
        _scratch(config, places, patience)
        if arguments.scratch
        else _live(config, places, patience, arguments.syslog_socket)
    )
    done: list[Step] = []
    for step in steps:
        done.append(step)
        if not arguments.json:
            print(safe_text(step, 1000), flush=True)
    if arguments.json:
        print(json.dumps([asdict(step) for step in done]))
    return _BROKEN if any(step.sound is False for step in done) else 0


def _mark(network: str) -> Marked:
    # Different ones, so that a test just before leaves nothing that this one could find.
    chance = random.SystemRandom()
    return Marked(f"{network}.{chance.randint(1, 254)}", chance.randint(1024, 65535))


# With a daemon of our own


def _scratch(config: Config, places: Places, patience: float) -> Iterator[Step]:
    options = [f"--patterns={name}" for name in config.patterns]
    options += [f"--patterns-dir={path}" for path in config.patterns_dir]
    with scratch(_WINDOW, options) as daemon:
        marked = _mark(NETWORKS[0])

        def write() -> str:
            with daemon.log.open("ab") as log:
                log.write(marked.line(time.time(), os.uname().nodename))
            return ""

        chain = Chain(
            marked,
            write,
            (str(daemon.log),),
            daemon.map,
            daemon.where,
            socketmap=False,
            places=places,
            patience=patience,
        )
        yield from follow(links(chain, lambda: _diagnosis(daemon.map, None), window=_WINDOW))


# With the running one


def _live(config: Config, places: Places, patience: float, socket: Path | None) -> Iterator[Step]:
    try:
        before = taken(told(config.map))
    except NobodyAnswersError as error:
        reason = str(error).partition(";")[0]
        cure = (
            "start it: systemctl start pbs-watch; or test without it: pbs-watch selftest --scratch"
        )
        yield Step("daemon", sound=False, text=reason, seconds=0.0, cure=cure)
        return
    if not os.access(config.map / DATA, os.R_OK | os.W_OK):
        raise UsageError(
            f"{config.map}: this user could not revoke the grant afterwards; run selftest as root "
            "or as the daemon's user, or with --scratch"
        )
    marked, reason = _grantable(config, before)
    if reason:
        yield Step("settings", sound=False, text=reason, seconds=0.0, cure=_ELSEWHERE)
        return
    where = config.listening()
    to_revoke: list[Marked] = []

    def write() -> str:
        to_revoke.append(marked)
        return log_to_syslog(marked.message, TAG, socket)

    def revoke() -> None:
        _revoke(config)
        to_revoke.clear()

    chain = Chain(
        marked,
        write,
        config.log,
        config.map,
        where[0] if where else config.socketmap[0],
        socketmap=not where,
        places=places,
        patience=patience,
    )
    try:
        yield from follow(links(chain, lambda: _diagnosis(config.map, before), revoke=revoke))
    finally:
        # A line that comes late is void as well: it was written before this moment.
        if to_revoke:
            revoke()


def _grantable(config: Config, state: State) -> tuple[Marked, str]:
    """A marked login that would be granted; or any, and why none would be."""
    if state.shadow:
        return _mark(NETWORKS[0]), "shadow is on: every lookup is answered with no, granted or not"
    if config.journal_trust and all(name.startswith(PREFIX) for name in config.log):
        trust = " ".join(config.journal_trust)
        text = f"of the journal only {trust} is believed, as it should be: not a line of ours"
        return _mark(NETWORKS[0]), text
    with closing(Map(config.map, "read")) as grants:
        orders = grants.obey()
    reason = ""
    for network in NETWORKS:
        marked = _mark(network)
        reason = _refused(config, marked, orders)
        if not reason:
            return marked, ""
    text = CURES.get(reason, "")
    return marked, f"the login would be refused: {why_refused(reason)}; {text}"


def _refused(config: Config, marked: Marked, orders: Orders) -> str:
    name = os.uname().nodename
    formats, policy = formats_of(config), config.policy()
    # rsyslog writes the short name, unless it is told to preserve the long one.
    found = [
        refusal(marked, formats, policy, orders, now=time.time(), host=host)
        for host in dict.fromkeys((name.partition(".")[0], name))
    ]
    return "" if "" in found else found[0]


def _diagnosis(path: Path, before: State | None) -> str:
    """What the daemon's counts say about a line that it did not grant."""
    try:
        after = taken(told(path))
    except NobodyAnswersError:
        return "the daemon does not answer any more: look at what it said"
    for reason, count in after.refused.items():
        if count > (before.refused.get(reason, 0) if before else 0):
            return f"a line was refused: {why_refused(reason)}; {CURES.get(reason, '')}"
    for source in after.sources:
        if source.trouble:
            return f"{source.name}: {source.trouble}; see pbs-watch status"
    if after.near > (before.near if before else 0):
        return "it is a near miss: pbs-watch status shows it, pbs-watch match tells why"
    return "pbs-watch doctor, and pbs-watch status"


def _revoke(config: Config) -> None:
    """Take back what was granted; the order is kept, so that no ``rebuild`` grants it again."""
    now = time.time()
    order = Bar("user", USER.encode(), now, now, "selftest")
    try:
        with (
            closing(Map(config.map, "write", config.retention)) as grants,
            carrying_out(config.map),
        ):
            hand.bar(grants, order, operator(), "revoke")
            keep_copy(grants)
    except MapError as error:
        raise MapError(
            f"{error}; then revoke what was granted: pbs-watch revoke --user {USER}"
        ) from None
