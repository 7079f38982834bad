"""``match``, ``check`` and ``new-pattern``: what the patterns do, and beginning one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from pbs_watch import metrics
from pbs_watch.answer.listen import parse_tcp, refuse_remote
from pbs_watch.commands import survey
from pbs_watch.commands.forms import counted
from pbs_watch.commands.settings import formats_of, settings
from pbs_watch.config import DEFAULT_PATH, Config, place
from pbs_watch.errors import ConfigError, PatternError, UsageError
from pbs_watch.escape import shown
from pbs_watch.log.clock import Clock
from pbs_watch.log.file import see
from pbs_watch.log.journal import PREFIX
from pbs_watch.pattern import library
from pbs_watch.pattern.draft import draft
from pbs_watch.pattern.explain import explain, render
from pbs_watch.pattern.scan import Scanner
from pbs_watch.shared.open import require
from pbs_watch.shared.where import where as engine_of


def match(arguments: argparse.Namespace) -> int:
    """Say what each line is, or what a log holds; 1 where no line matched any format."""
    config = settings(arguments)
    if arguments.line != "-" and survey.is_log(arguments.line):
        return survey.run(arguments.line, config)
    if arguments.line.startswith("/") and not set(arguments.line) & set(" \t\n"):
        raise UsageError(f"{arguments.line}: no such file, and no log line begins so")
    formats = library.load(config.patterns, config.patterns_dir, parsed=True)
    lines: Iterable[bytes] = (os.fsencode(arguments.line),)
    if arguments.line == "-":
        lines = sys.stdin.buffer
    matched = False
    for line in lines:
        whole = line.removesuffix(b"\n")
        explanations = explain(formats, whole)
        matched |= any(one.classified.rule is not None for one in explanations)
        if arguments.line == "-":
            print(shown(whole))
        print(render(explanations, whole))
    return 0 if matched else 1


def new_pattern(arguments: argparse.Namespace) -> int:
    """Print a pattern for logins that look like a line; 1 where it does not load yet."""
    if not arguments.name or set(arguments.name) & set(" :\t\n"):
        raise UsageError(
            f"{arguments.name[:40]!r} is no name of a format; name the format first: "
            "pbs-watch new-pattern NAME LINE"
        )
    line = os.fsencode(arguments.line)
    if arguments.line == "-":
        line = sys.stdin.buffer.readline()
    if not line.strip():
        raise UsageError("an empty line; give a whole log line of a login")
    user, address = (
        None if said is None else os.fsencode(said) for said in (arguments.user, arguments.address)
    )
    made = draft(arguments.name, line.rstrip(b"\r\n"), user, address)
    try:
        library.load_text(f"{arguments.name}{library.SUFFIX}", made.text)
    except PatternError as error:
        print(f"# IT DOES NOT LOAD YET: {error}")
        print(made.text, end="")
        return 1
    print(made.text, end="")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Load everything that the daemon would load, and say what was found."""
    config = settings(arguments)
    path = arguments.config or DEFAULT_PATH
    engine = _engine(arguments.config, config)
    print(f"{path}: settings: fine" if path.exists() else f"{path}: absent, the defaults hold")
    # Whatever was made of them when the program was built: this runs the examples.
    formats = formats_of(config, parsed=True)
    Scanner(formats, Clock(config.zone))
    for fmt in formats:
        rules, examples = counted(len(fmt.rules), "rule"), counted(len(fmt.examples), "example")
        print(f"{fmt.path}: {fmt.name}: {rules}, {examples}: fine")
    for where in (*config.listening(), *filter(None, [config.metrics])):
        address, _ = parse_tcp(where)
        refuse_remote(where, str(address), allow_remote=config.allow_remote)
    if config.metrics is not None or config.metrics_file is not None:
        metrics.require()
    if engine:
        print(f"{engine}: named; pbs-watch shared check tries it")
    for log in config.log:
        print(f"{log}: {_log(log)}")
    return 0


def _engine(path: Path | None, config: Config) -> str:
    """The engine of shared grants, if there is one; raises :class:`ConfigError`."""
    try:
        require(config)
        return str(engine_of(config)) if config.shared else ""
    except ConfigError as error:
        raise ConfigError(f"{place(path, error.setting)}{error}") from None


def _log(name: str) -> str:
    """What can be said of a log now; raises :class:`SourceError` where it can never be one."""
    if name == "-" or name.startswith(PREFIX):
        return "read when the daemon runs"
    try:
        seen = see(name)
    except OSError as error:
        return f"cannot be read by this user now ({error.strerror})"
    if seen is None:
        return "not there yet"
    if not os.access(name, os.R_OK):
        return "there, but this user may not read it: on Debian the group adm may"
    return "there"
