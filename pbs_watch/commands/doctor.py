"""``doctor``: the whole set-up, one line for each finding.

Exits with 1 where something is wrong; what is only worth a look, or could not be seen, does not
fail.  Works without a daemon, without rights, and with settings that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pbs_watch.commands.settings import formats_of, settings
from pbs_watch.commands.state import safe_text
from pbs_watch.config import DEFAULT_PATH
from pbs_watch.doctor.checks import findings
from pbs_watch.doctor.finding import Finding, Level
from pbs_watch.doctor.places import Places
from pbs_watch.doctor.subject import Subject
from pbs_watch.errors import ConfigError, PatternError, UsageError
from pbs_watch.log.clock import Clock
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.scan import Scanner

_WRONG = 1

_NOTHING = Path("/dev/null")
"""Settings that say nothing, in the place of those that cannot be read."""

_LONGEST = 1000
"""Characters of a finding: a line of main.cf has some 200."""

_COLOURS = {Level.WRONG: "31", Level.LOOK: "33", Level.UNSEEN: "36", Level.FINE: "32"}
"""ANSI colours by level, for terminals."""


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 where something is wrong."""
    places = Places(
        arguments.root,
        arguments.postfix_config,
        arguments.courier_config,
        arguments.syslog_config,
        arguments.logrotate_config,
    )
    for place in (
        places.root,
        places.postfix,
        places.courier,
        places.syslog,
        places.logrotate,
    ):
        if place is not None and not place.exists():
            raise UsageError(f"{place}: there is nothing of this name; look for the slip in it")
    checked = _subject(arguments, places)
    found: list[Finding] = []
    for finding in findings(checked):
        found.append(finding)
        if not arguments.json and not (arguments.quiet and finding.level is Level.FINE):
            print(_line(finding), flush=True)
    counts = Counter(finding.level for finding in found)
    if arguments.json:
        print(json.dumps(_as_json(found, counts)))
    else:
        print(", ".join(f"{counts[level]} {level.value}" for level in Level))
    return _WRONG if counts[Level.WRONG] else 0


def _subject(arguments: argparse.Namespace, places: Places) -> Subject:
    trouble = patterns = ""
    try:
        config = settings(arguments)
    except ConfigError as error:
        # What the command line says still counts, and is the caller's fault where it does not fit.
        trouble = str(error)
        config = settings(argparse.Namespace(**{**vars(arguments), "config": _NOTHING}))
    formats: Sequence[Format] = ()
    try:
        formats = formats_of(config)
        Scanner(formats, Clock(config.zone))
    except (PatternError, ConfigError) as error:
        formats, patterns = (), str(error)
    return Subject(config, formats, places, _path(arguments), trouble, patterns)


def _path(arguments: argparse.Namespace) -> str:
    path = arguments.config or DEFAULT_PATH
    return str(path) if path.exists() else ""


def _line(finding: Finding) -> str:
    text = safe_text(finding, _LONGEST)
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    word = finding.level.value
    return f"\x1b[{_COLOURS[finding.level]}m{word}\x1b[0m{text[len(word) :]}"


def _as_json(found: Sequence[Finding], counts: Counter[Level]) -> dict[str, object]:
    return {
        **{level.value: counts[level] for level in Level},
        "findings": [{**asdict(one), "level": one.level.value} for one in found],
    }
