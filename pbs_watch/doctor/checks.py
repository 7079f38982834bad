"""The table of checks: what each looks at, and who judges it.

Each gathers its facts and judges them, apart from the others: where one cannot be gone through, the
others still say what they find.  Nothing is changed, and every wait has a limit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from pbs_watch import __version__, live
from pbs_watch import host as addresses
from pbs_watch.commands.state import State
from pbs_watch.config import RESTART, digests
from pbs_watch.doctor import (
    courier,
    daemon,
    host,
    journal,
    log,
    mail,
    port,
    postfix,
    records,
    rotation,
    settings,
    shared,
    syslog,
)
from pbs_watch.doctor import (
    map as map_,
)
from pbs_watch.doctor import (
    places as at,
)
from pbs_watch.doctor.ask import NOBODY, ask
from pbs_watch.doctor.finding import Finding, fine, unseen, wrong
from pbs_watch.doctor.processes import account_of, command, container, holder, listening, ports
from pbs_watch.doctor.restrictions import Table
from pbs_watch.doctor.services import smtp, trusted, used
from pbs_watch.doctor.subject import Subject
from pbs_watch.errors import ConfigError, PbsWatchError
from pbs_watch.kernel import Kernel
from pbs_watch.log.journal import PREFIX
from pbs_watch.shared import health
from pbs_watch.shared.where import where as engine_of


def _settings(checked: Subject) -> Iterator[Finding]:
    config = checked.config
    kernel = ""
    if config.witness != "off":
        try:
            Kernel(config.witness_ports).close()
        except ConfigError as error:
            kernel = str(error)
    known = ports()
    mail_ports = None if known is None else known & frozenset(config.witness_ports)
    yield from settings.judge(
        settings.Facts(config, checked.path, checked.trouble, checked.patterns, kernel, mail_ports)
    )


def _daemon(checked: Subject) -> Iterator[Finding]:
    config, state = checked.config, checked.state
    wanted = daemon.Wanted(__version__, digests(config), RESTART)
    if isinstance(state, State):
        known = account_of(state.pid)
        facts = daemon.Facts(
            str(config.map),
            state,
            uid=known.uid if known else None,
            account=known.name if known else "",
        )
    else:
        reason = state.partition(";")[0]  # what to do is the finding's to say
        facts = daemon.Facts(str(config.map), None, reason, _closed(config.map / live.SOCKET))
    yield from daemon.judge(facts, None if checked.trouble else wanted)


def _closed(socket: Path) -> bool:
    """Whether the daemon may be there, and this user may not ask it."""
    try:
        socket.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(socket, os.R_OK | os.W_OK)


def _ports(checked: Subject) -> Iterator[Finding]:
    tables = [(where, False) for where in checked.config.listening()]
    tables += [(where, True) for where in checked.config.socketmap]
    for where, socketmap in tables:
        yield from port.judge(_port_facts(checked, where, socketmap=socketmap))


def _port_facts(checked: Subject, where: str, *, socketmap: bool) -> port.Facts:
    state = checked.state
    pid = state.pid if isinstance(state, State) else None
    found = listening(where)
    if found is None:
        return port.Facts(where, listening=False)
    owner = holder(found.inode, pid)
    answer = ask(where, socketmap=socketmap)
    return port.Facts(
        where,
        listening=True,
        owner=owner,
        owner_name=command(owner) if owner is not None else "",
        uid=found.uid,
        daemon=pid,
        daemon_uid=checked.account.uid if checked.account else None,
        answer=answer.verdict,
        said=answer.said,
        why=answer.why,
        seconds=answer.seconds,
    )


def _logs(checked: Subject) -> Iterator[Finding]:
    config = checked.config
    offset = datetime.fromtimestamp(checked.now, config.zone).astimezone(config.zone).utcoffset()
    zone = offset.total_seconds() if offset is not None else 0.0
    for facts in checked.logs:
        yield from log.judge(facts, checked.now, zone, config.cuts, config.hosts)
    for name in dict.fromkeys(config.log):
        if name == "-":
            yield unseen("log-there", "-: standard input can be seen by the daemon alone")
        elif name.startswith(PREFIX):
            trust = config.journal_trust
            found = records.journal_facts(name, trust, checked.tags, checked.account)
            yield from journal.judge(found, trust)


def _rotation(checked: Subject) -> Iterator[Finding]:
    files, hidden = at.logrotate_texts(checked.places)
    for facts in checked.logs:
        yield from rotation.judge(facts.name, files, hidden)


def _syslog(checked: Subject) -> Iterator[Finding]:
    if checked.logs:
        names = tuple(facts.name for facts in checked.logs)
        yield from syslog.judge(at.syslog_facts(checked.places), names)


def _courier(checked: Subject) -> Iterator[Finding]:
    yield from courier.judge(at.courier_facts(checked.places), checked.config.cuts, checked.tags)


def _postfix(checked: Subject) -> Iterator[Finding]:
    facts = checked.postfix
    yield from postfix.judge(facts, checked.ours)
    for one in used(smtp(facts, checked.ours)):
        yield from _looked_up(checked, one)


def _looked_up(checked: Subject, one: Table) -> Iterator[Finding]:
    """Whether Postfix's own postmap gets an answer."""
    where = one.where
    if where.startswith("unix:"):
        return  # smtpd's name for it, in its chroot
    if where.startswith("localhost:"):
        where = "127.0.0.1:" + where.rpartition(":")[2]
    if listening(where) is None:
        return  # told by port-ours; postmap would try for ten seconds
    verdict, said = mail.looked_up(checked.places, one, NOBODY.decode())
    if verdict == "absent":
        yield fine("postfix-lookup", f"postmap -q asks {one.text} and is answered")
    elif verdict == "unseen":
        yield unseen("postfix-lookup", f"what postmap -q says of {one.text}: {said}")
    else:
        yield wrong(
            "postfix-lookup",
            f"postmap -q {NOBODY.decode()} {one.text} says {said!r}",
            "see port-answers",
        )


def _map(checked: Subject) -> Iterator[Finding]:
    yield from map_.judge(records.map_facts(checked.config.map, checked.account))


def _host(checked: Subject) -> Iterator[Finding]:
    logins: Counter[bytes] = Counter()
    for facts in checked.logs:
        if facts.tail is not None:
            logins.update(facts.tail.addresses)
    relaying = trusted(checked.postfix)
    found = host.Facts(addresses.own(), addresses.gateway(), container(), logins, relaying)
    config = checked.config
    yield from host.judge(found, config.networks(config.never), config.networks(config.only))


def _shared(checked: Subject) -> Iterator[Finding]:
    yield from health.judge(checked.config, writing=False)
    if isinstance(checked.state, State):
        told = checked.state.shared
        try:
            wanted = str(engine_of(checked.config)) if checked.config.shared else ""
        except ConfigError:
            wanted = str(told.get("engine", "")) or checked.config.shared  # said above
        yield from shared.judge(told, wanted)


CHECKS: tuple[tuple[str, Callable[[Subject], Iterator[Finding]]], ...] = (
    ("settings", _settings),
    ("daemon", _daemon),
    ("port", _ports),
    ("log", _logs),
    ("log-rotation", _rotation),
    ("syslog", _syslog),
    ("courier", _courier),
    ("postfix", _postfix),
    ("map", _map),
    ("host", _host),
    ("shared", _shared),
)
"""What is checked, in the order in which it is told."""


def findings(checked: Subject) -> Iterator[Finding]:
    """All findings; where a check cannot be gone through, that is one."""
    for name, check in CHECKS:
        try:
            yield from check(checked)
        except (OSError, PbsWatchError) as error:
            text = str(error).partition("\n")[0]
            yield unseen(name, f"cannot be looked at: {text}", "run doctor as root")
        except (ValueError, LookupError) as error:
            # Nobody can say that all is well then.
            text = f"doctor does not understand what it found ({type(error).__name__}: {error})"
            yield wrong(name, text.partition("\n")[0], "please report this, with the file or line")
