"""Matching against what judges lines too: Perl, fail2ban-regex and sshguard's parser.

The logs have BSD stamps: pop-before-smtp knows no others.  fail2ban-regex reads a part of the log
only, as it takes minutes for all of it; what counts is lines per second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import Ended, in_turn, timed
from benchmarks.result import OURS, Row, Target, series
from benchmarks.scan import replay

POP_BEFORE_SMTP = (
    r"^(... .. ..:..:..) \S+ (?:courier)?(?:pop3|imap)(?:login|d|d-ssl): "
    r"LOGIN, user=\S+, ip=\[[:f]*(\d+\.\d+\.\d+\.\d+)\]"
)
"""The pattern for Courier that pop-before-smtp 1.42 offers in its pop-before-smtp-conf.pl."""

FAIL2BAN_FILTER = Path("/etc/fail2ban/filter.d/courier-auth.conf")

SSHG_PARSER = Path("/usr/libexec/sshguard/sshg-parser")


def perl(log: Path) -> tuple[str | Path, ...]:
    """The one-liner that prints the lines which match."""
    return ("perl", "-ne", f"print if m{{{POP_BEFORE_SMTP}}}", log)


def rows(bench: Bench) -> Iterator[Row]:
    """Few logins against Perl; many against all three."""
    yield _against_perl(bench)
    yield from _lines_per_second(bench)


def _against_perl(bench: Bench) -> Row:
    lines = bench.scale.lines
    options = ("--logins", "0.001", "--ends", "0.001", "--format", "bsd")
    log = bench.log("match-0.001", lines, *options)
    bench.say("replay against perl -ne")
    found = in_turn(
        bench.scale.runs,
        {OURS: lambda: timed(replay(log)), "perl -ne": lambda: timed(perl(log))},
    )
    return Row(
        "match-perl",
        f"replay of {lines:,} lines with 0.1 % logins",
        "s",
        {who: series([run.wall for run in runs]) for who, runs in found.items()},
        (Target(1.5, "perl -ne"),),
    )


def _lines_per_second(bench: Bench) -> Iterator[Row]:
    lines, few = bench.scale.lines, bench.scale.slow_lines
    options = ("--logins", "0.05", "--ends", "0.05", "--format", "bsd")
    log = bench.log("match-0.05", lines, *options)
    part = bench.log("match-0.05", few, *options)
    bench.say("replay against fail2ban-regex, sshg-parser and perl -ne, with 5 % logins")
    contenders: dict[str, tuple[int, Callable[[], Ended]]] = {
        OURS: (lines, partial(timed, replay(log))),
        "fail2ban-regex": (few, partial(timed, ("fail2ban-regex", part, FAIL2BAN_FILTER))),
        "sshg-parser": (lines, partial(timed, (SSHG_PARSER,), log)),
        "perl -ne": (lines, partial(timed, perl(log))),
    }
    found = in_turn(bench.scale.runs, {who: run for who, (_, run) in contenders.items()})
    yield Row(
        "match",
        f"lines matched with 5 % logins and ends, {lines:,} lines (fail2ban-regex: {few:,})",
        "lines/s",
        {
            who: series([contenders[who][0] / run.wall for run in runs])
            for who, runs in found.items()
        },
        (
            Target(15, "fail2ban-regex", least=True, stretch=40),
            Target(2.5, "sshg-parser", least=True),
        ),
    )
