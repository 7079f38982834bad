"""Whether the followed log is there, fresh, understood, and of one host.  Pure.

The end of the log is scanned as the daemon would, with the same patterns.  That its stamps agree
with the clock is seen from the time at which the file was changed last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pbs_watch.doctor.finding import Finding, fine, look, many, unseen, wrong
from pbs_watch.escape import shown
from pbs_watch.grants.address import Networks
from pbs_watch.grants.events import End, Login, NearMiss
from pbs_watch.log.clock import Clock
from pbs_watch.log.cuts import Cuts, Mode
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner

_QUIET = 3600.0
_STALE = 86400.0
"""Seconds without a line: of a small host at night, and of one that writes no log any more."""

_AGREE = 120.0
"""Seconds between the last line's stamp and the file's change: buffers, and a second's rounding."""

_WHOLE = 30.0
_QUARTER = 900.0
"""Zones differ by multiples of a quarter of an hour, give or take what a collector takes to write,
and at most by 14 hours and 12.  Any other difference is no zone's, and one in fifteen looks so."""
_FARTHEST = 26 * 3600.0

_JOURNAL = 'follow the journal: log = ["journal:"], or --log journal:; or install rsyslog'

_SHOWN = 90
"""Characters of a near miss that are shown."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What the end of a log holds.  ``ours``: lines of tags that the patterns read; ``hosts``: of
    these by host; ``addresses``: of logins; ``latest``: epoch seconds of the last line's stamp;
    ``zoned``: whether stamps carry their zone.
    """

    lines: int = 0
    ours: int = 0
    logins: int = 0
    ends: int = 0
    cuts: int = 0
    near: Sequence[NearMiss] = ()
    nears: int = 0
    latest: float | None = None
    zoned: bool = True
    hosts: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """A followed file.  ``trouble``: why it cannot be a log.  ``unread``: why its end could not be
    read, for ``tail``.  ``readable``: by the daemon's user ``account``, ``None`` where nobody can
    tell.  ``modified``: epoch seconds.  ``emptied``: nothing was written since it was rotated;
    ``tail`` and ``modified`` are its predecessor's then.  ``journald``, ``syslogd``: whether they
    are on this host.
    """

    name: str
    exists: bool = True
    trouble: str = ""
    readable: bool | None = None
    account: str = ""
    size: int = 0
    modified: float = 0.0
    emptied: bool = False
    journald: bool = False
    syslogd: bool = True
    tail: Tail | None = None
    unread: str = ""


def survey(data: bytes, formats: Sequence[Format], clock: Clock, now: float, mode: Mode) -> Tail:
    """What ``data``, whole lines, holds; ``now``: epoch seconds."""
    scanner = Scanner(formats, clock)
    found = scanner.scan(data, 0, len(data), Cuts(mode), now)
    hosts: Counter[str] = Counter()
    for line in data.splitlines():
        for fmt in formats:
            header = fmt.header.regex.match(line)
            if header is not None:
                parts = header.groupdict()
                if not fmt.tags or parts.get("tag") in fmt.tags:
                    hosts[(parts.get("host") or b"").decode("ascii", "replace")] += 1
                    break
    last = data[data.rfind(b"\n", 0, len(data) - 1) + 1 :]
    events = [*found.events, *found.suspects]
    logins = [event for event in events if isinstance(event, Login)]
    return Tail(
        found.lines,
        hosts.total(),
        len(logins),
        sum(isinstance(event, End) for event in events),
        len(found.cuts),
        found.near,
        found.nears,
        scanner.date_of(last, 0, len(last), now),
        not last[:1].isalpha(),
        hosts,
        Counter(login.address for login in logins),
    )


def judge(
    facts: Facts, now: float, zone: float, cuts: Mode, hosts: Sequence[str]
) -> Iterator[Finding]:
    """All that is to be said of one log.

    ``now``: epoch seconds; ``zone``: the setting's offset in seconds; ``cuts`` and ``hosts``: the
    settings.
    """
    name = facts.name
    if not facts.exists:
        yield _missing(facts)
        return
    if facts.trouble:
        yield wrong("log-there", f"{name}: {facts.trouble}", "name the mail log with log = [...]")
        return
    yield fine("log-there", f"{name}: {facts.size:,} bytes")
    yield _readable(facts)
    if facts.tail is None:
        yield unseen("log-patterns", f"{name}: its lines: {facts.unread}", "run doctor as root")
        return
    tail = facts.tail
    latest = tail.latest if tail.latest is not None else facts.modified
    yield _fresh(facts, now - max(latest, facts.modified))
    if tail.latest is not None:
        yield _clock(facts, tail, tail.latest, now, zone)
    yield from _patterns(name, tail)
    if tail.cuts and cuts == "off":
        yield wrong(
            "log-cuts",
            f'{name}: {many(tail.cuts, "cut line")}, though cuts = "off" says that Courier '
            "truncates them",
            'set cuts = "strict" until Courier\'s cure is configured and Courier restarted',
        )
    elif tail.cuts:
        yield look(
            "log-cuts",
            f"{name}: {many(tail.cuts, 'cut line')}: somebody may be trying to forge logins",
            "let Courier truncate long lines: README, Forged lines",
        )
    yield from _hosts(name, tail, hosts)


def _missing(facts: Facts) -> Finding:
    if facts.journald and not facts.syslogd:
        return wrong(
            "log-there",
            f"{facts.name}: there is none, and no syslog daemon that would write it",
            _JOURNAL,
        )
    return wrong(
        "log-there",
        f"{facts.name}: there is none",
        "name the file that gets mail.* with log = [...], or start the syslog daemon",
    )


def _readable(facts: Facts) -> Finding:
    if facts.readable is None:
        return unseen(
            "log-readable",
            f"{facts.name}: whether {facts.account or 'the daemon'} may read it",
            "run doctor as root",
        )
    if facts.readable:
        return fine("log-readable", f"{facts.name}: {facts.account} may read it")
    return wrong(
        "log-readable",
        f"{facts.name}: {facts.account} may not read it",
        f"adduser {facts.account} adm, and restart pbs-watch",
    )


def _fresh(facts: Facts, age: float) -> Finding:
    name = facts.name
    if age > _STALE:
        cure = "start the syslog daemon, or name the log that is written now"
        if facts.journald and not facts.syslogd:
            cure = _JOURNAL
        return wrong("log-fresh", f"{name}: nothing was written for {_span(age)}", cure)
    if age > _QUIET:
        return look(
            "log-fresh", f"{name}: nothing was written for {_span(age)}", "is that usual here?"
        )
    return fine("log-fresh", f"{name}: written to {_span(max(age, 0.0))} ago")


def _clock(facts: Facts, tail: Tail, latest: float, now: float, zone: float) -> Finding:
    ahead = latest - facts.modified
    if abs(ahead) <= _AGREE:
        if latest > now + _AGREE:
            return wrong(
                "log-clock",
                f"{facts.name}: its last line is {_span(latest - now)} in the future",
                "set the clock right: timedatectl set-ntp true",
            )
        return fine("log-clock", f"{facts.name}: its stamps agree with the clock")
    whole = round(ahead / _QUARTER) * _QUARTER
    direction = "ahead of" if ahead > 0 else "behind"
    text = f"{facts.name}: its stamps are {_span(abs(ahead))} {direction} the clock that wrote it"
    if (
        not facts.emptied
        and not tail.zoned
        and whole
        and abs(ahead - whole) <= _WHOLE
        and abs(ahead) <= _FARTHEST
    ):
        return wrong("log-clock", text, f'set zone = "{_offset(zone + whole)}"')
    if latest > now + _AGREE:
        return wrong("log-clock", text, "set the clock right where the lines are stamped")
    if facts.emptied:
        return unseen("log-clock", f"{facts.name}: nothing was written since it was rotated")
    return look("log-clock", text, "a copy, or a host whose clock is wrong?")


def _patterns(name: str, tail: Tail) -> Iterator[Finding]:
    if tail.nears:
        miss = tail.near[-1]
        text = shown(miss.tag + b": " + miss.message)[:_SHOWN]
        yield wrong(
            "log-near",
            f"{name}: {many(tail.nears, 'line')} of its last {tail.lines:,} look like a login and "
            f"fit no pattern, such as {text!r}",
            "pbs-watch match 'THE LINE' tells where it fails; adapt the pattern in "
            "/etc/pbs-watch/patterns",
        )
    if tail.logins:
        yield fine(
            "log-patterns",
            f"{name}: {many(tail.logins, 'login')} and {many(tail.ends, 'session end')} in its "
            f"last {many(tail.lines, 'line')}",
        )
    else:
        what = (
            f"{tail.ours:,} are of its tags" if tail.ours else "none has a tag that patterns read"
        )
        yield look(
            "log-patterns",
            f"{name}: no login in its last {many(tail.lines, 'line')}, of which {what}",
            "log in by POP3 or IMAP once, and run doctor again",
        )


def _hosts(name: str, tail: Tail, hosts: Sequence[str]) -> Iterator[Finding]:
    found = sorted(tail.hosts, key=lambda host: -tail.hosts[host])
    if hosts and found and not set(hosts) & set(found):
        yield wrong(
            "log-hosts",
            f"{name}: its lines are of {', '.join(found[:5])}, and hosts names none of them",
            f"set hosts = {_list(found[:5])}",
        )
    elif len(found) > 1 and not hosts:
        yield look(
            "log-hosts",
            f"{name}: lines of {len(found)} hosts count: {', '.join(found[:5])}",
            f"name those that are yours: hosts = {_list(found[:5])}",
        )
    elif found:
        yield fine("log-hosts", f"{name}: lines of {', '.join(found[:5])}")


def behind(tail: Tail, networks: Networks) -> int:
    """How many of the logins came from one of the networks."""
    return sum(count for address, count in tail.addresses.items() if networks.holds(address))


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _offset(seconds: float) -> str:
    minutes = round(abs(seconds) / 60)
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}" if minutes else "UTC"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
