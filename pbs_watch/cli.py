"""The command line: what may be asked, and how answers and errors are said.

Exit codes: 0 fine, 1 "no", 2 used wrongly or broken.  An error is one line on standard error: what,
where, what to do.  Each command imports what it needs when it runs, since ``get`` is to answer in
less than 100 ms.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from pbs_watch import __version__, standard_error
from pbs_watch.errors import PatternError, PbsWatchError, UsageError, one_line
from pbs_watch.options import (
    add_answering,
    add_control,
    add_folding,
    add_judging,
    add_map,
    add_metrics,
    add_note,
    add_patterns,
    add_places,
    add_shared,
    add_subject,
)

OK, NO, BROKEN = 0, 1, 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        asked = sys.argv[1] if len(sys.argv) > 1 else ""
        command = f"{self.prog.split()[0]} {asked}" if asked in _COMMANDS else self.prog
        raise UsageError(f"{message}; see {command} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A user name that the terminal's encoding lacks is no reason to end.
            sys.stdout.reconfigure(errors="backslashreplace")
        words = sys.argv[1:] if argv is None else argv
        if sys.stdout is None and words[:1] != ["run"]:
            # Its number may be another file's by now: nothing is begun.
            raise UsageError("standard output is closed; let it go somewhere, such as >/dev/null")
        arguments = parser(words[0] if words else "").parse_args(words)
        status: int = arguments.command(arguments)
        if sys.stdout is not None:  # but for the daemon
            sys.stdout.flush()
    except PatternError as error:
        _complain(error)
        if error.excerpt:
            print(error.excerpt, file=sys.stderr)
        return BROKEN
    except PbsWatchError as error:
        _complain(error)
        return BROKEN
    except BrokenPipeError:
        # The reader of our output has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        # All that is ours to touch says so itself; this is the output, on a full disk mostly.
        where = error.filename or "standard output"
        _complain(PbsWatchError(f"{where}: {error.strerror or error}; make room and try again"))
        return BROKEN
    except KeyboardInterrupt:
        return 130  # as a shell reports a program ended by SIGINT
    return status


def _complain(error: PbsWatchError) -> None:
    start = standard_error.ERROR if standard_error.is_the_journal() else ""
    print(f"{start}pbs-watch: {one_line(error)}", file=sys.stderr)


def parser(asked: str = "") -> argparse.ArgumentParser:
    """The parser for the command ``asked``, for all of them where it is none."""
    whole = _Parser(prog="pbs-watch", description="pop-before-smtp beside Courier and Postfix")
    whole.add_argument("--version", action="version", version=f"pbs-watch {__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Only the command that is asked for: building them all takes longer than a lookup.
    adding = _COMMANDS.get(asked)
    for add in (adding,) if adding is not None else _COMMANDS.values():
        add(commands)
    return whole


if TYPE_CHECKING:
    _Commands: TypeAlias = argparse._SubParsersAction[_Parser]


def _command(commands: _Commands, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings in TOML (default: /etc/pbs-watch/pbs-watch.toml where it exists)",
    )
    return command


def _add_run(commands: _Commands) -> None:
    command = _command(commands, "run", "follow the log and answer Postfix, in the foreground")
    command.add_argument(
        "--log",
        action="append",
        metavar="PATH",
        help="log to follow: a file, journal: or -; may be given again (/var/log/mail.log)",
    )
    add_patterns(command)
    add_map(command)
    add_answering(command)
    add_judging(command)
    add_control(command)
    add_metrics(command)
    add_shared(command)
    command.add_argument(
        "-v", "--verbose", action="store_true", help="say each login, end and refusal"
    )
    command.epilog = (
        "SIGTERM and SIGINT end it, SIGHUP makes it read settings and patterns again, SIGUSR1 tell "
        "its state in the log."
    )
    command.set_defaults(command=_lazily("run", "run"))


def _add_reload(commands: _Commands) -> None:
    text = "check the settings and patterns, and let the daemon go by them"
    command = _command(commands, "reload", text)
    add_map(command)
    command.epilog = (
        "Exits with 2, and the daemon goes on as before, where something is broken or no daemon "
        "answers."
    )
    command.set_defaults(command=_lazily("reload", "run"))


def _add_health(commands: _Commands) -> None:
    text = "say whether the daemon is well, for supervisors; exits with 1 where it is not"
    command = _command(commands, "health", text)
    add_map(command)
    command.set_defaults(command=_lazily("health", "run"))


def _add_replay(commands: _Commands) -> None:
    command = _command(commands, "replay", "run the same rules over log files")
    add_patterns(command)
    add_map(command, "a temporary one")
    add_judging(command)
    add_answering(command)
    command.add_argument(
        "--at",
        metavar="TIME|end|now",
        default="end",
        help="the clock at the end: a time, the latest line's (end, default) or the present",
    )
    command.add_argument("--year", type=int, metavar="Y", help="year of the first line")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--grants", action="store_true", help="print only the granted addresses")
    form.add_argument("--json", action="store_true", help="print the counts as JSON")
    command.add_argument("--serve", action="store_true", help="then answer lookups")
    command.add_argument(
        "files", nargs="+", metavar="FILE", help="plain, .gz, .xz, .zst, or - for standard input"
    )
    command.set_defaults(command=_lazily("replay", "run"))


def _add_get(commands: _Commands) -> None:
    command = _command(
        commands, "get", "say whether an address may relay: prints OK, or exits with 1"
    )
    add_map(command)
    command.add_argument("--answer", help=argparse.SUPPRESS)
    command.add_argument("key", metavar="KEY", help="an address, as Postfix asks for it")
    command.set_defaults(command=_lazily("grants", "get"))


def _add_list(commands: _Commands) -> None:
    command = _command(commands, "list", "list the grants, or the operator's orders, or sessions")
    add_map(command)
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--orders", action="store_true", help="allows, revocations and blocks")
    kind.add_argument("--sessions", action="store_true", help="the open sessions")
    command.add_argument(
        "--user", metavar="U", help="only this user's logins; @DOMAIN: of all there"
    )
    add_folding(command)
    command.add_argument("--in", dest="network", metavar="NET", help="only addresses in a network")
    command.add_argument("--service", metavar="S", help="only logins of this service (the tag)")
    command.add_argument(
        "--permanent", action="store_true", help="only what is allowed permanently"
    )
    command.add_argument(
        "--sort",
        choices=("address", "user", "service", "login", "expires"),
        help="by these; addresses as numbers (default: addresses as text)",
    )
    command.add_argument("--reverse", action="store_true", help="the other way round")
    command.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="at most N rows, 0 for all (default: 1000 on a terminal, all elsewhere)",
    )
    command.add_argument("--json", action="store_true", help="as a JSON list")
    command.set_defaults(command=_lazily("grants", "list_grants"))


def _add_allow(commands: _Commands) -> None:
    command = _command(commands, "allow", "let an address or a network relay, whoever logs in")
    add_map(command)
    command.add_argument("--window", metavar="D", help=argparse.SUPPRESS)
    command.add_argument("subject", metavar="ADDRESS|NETWORK")
    length = command.add_mutually_exclusive_group()
    length.add_argument(
        "--for", dest="length", metavar="D", help="for how long (default: one window)"
    )
    length.add_argument("--permanent", action="store_true", help="until it is revoked")
    add_note(command)
    command.add_argument(
        "--force", action="store_true", help="also wider than /16 or /48, or what is in never"
    )
    command.set_defaults(command=_lazily("hand", "allow"))


def _add_revoke(commands: _Commands) -> None:
    text = "take grants away: logins before now, and their open sessions, grant nothing any more"
    command = _command(commands, "revoke", text)
    add_map(command)
    add_subject(command)
    add_note(command)
    command.set_defaults(command=_lazily("hand", "revoke"))


def _add_block(commands: _Commands) -> None:
    text = "take grants away, and let new logins grant nothing for a time"
    command = _command(commands, "block", text)
    add_map(command)
    add_subject(command)
    command.add_argument(
        "--for", dest="length", metavar="D", required=True, help="for how long: 1h, 7d"
    )
    add_note(command)
    command.set_defaults(command=_lazily("hand", "block"))


def _add_unblock(commands: _Commands) -> None:
    command = _command(commands, "unblock", "end a block; exits with 1 where there is none")
    add_map(command)
    add_subject(command)
    command.set_defaults(command=_lazily("hand", "unblock"))


def _add_expire(commands: _Commands) -> None:
    text = "remove what has expired, or end all that older logins granted"
    command = _command(commands, "expire", text)
    add_map(command)
    command.add_argument(
        "--older-than",
        metavar="D",
        help="logins older than this grant nothing any more; 0s: all of them",
    )
    command.set_defaults(command=_lazily("hand", "expire"))


def _add_forget(commands: _Commands) -> None:
    text = "remove all that is remembered of a user; exits with 1 where that is nothing"
    command = _command(commands, "forget", text)
    add_map(command)
    add_folding(command)
    command.add_argument("user", metavar="USER")
    command.set_defaults(command=_lazily("hand", "forget"))


def _add_export(commands: _Commands) -> None:
    command = _command(commands, "export", "write the grants, for others or as a Postfix table")
    add_map(command)
    command.add_argument("--answer", help=argparse.SUPPRESS)
    command.add_argument(
        "--format",
        choices=("jsonl", "postfix", "addresses"),
        help="all there is as JSON Lines (default), or who may relay now: as the source of a "
        "Postfix table, as addresses",
    )
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="replace this file (default: standard output)"
    )
    command.add_argument(
        "--table",
        metavar="TYPE:PATH",
        help="write a Postfix table with postmap: hash, btree, cdb, lmdb",
    )
    command.add_argument(
        "--follow", action="store_true", help="keep the table up to date, in the foreground"
    )
    command.add_argument("--every", metavar="D", help="look for changes this often (default: 5s)")
    command.set_defaults(command=_lazily("exchange", "export"))


def _add_import(commands: _Commands) -> None:
    command = _command(commands, "import", "put grants from elsewhere into the map")
    add_map(command)
    command.add_argument("--window", metavar="D", help="how long a login grants (default: 30m)")
    command.add_argument(
        "--from",
        dest="form",
        choices=("jsonl", "authpfix", "pop-before-smtp"),
        help="the file's format (default: what it looks like)",
    )
    command.add_argument(
        "--force", action="store_true", help="also allow networks wider than /16 or /48"
    )
    add_folding(command)
    command.add_argument("file", type=Path, metavar="FILE", help="or - for standard input")
    command.set_defaults(command=_lazily("exchange", "import_"))


def _add_why(commands: _Commands) -> None:
    command = _command(
        commands, "why", "say why an address may relay, or why not; exits with 1 where it may not"
    )
    add_map(command)
    command.add_argument(
        "--at", metavar="TIME", help="at a time, past or to come, such as 2026-11-22T08:42:00"
    )
    command.add_argument("--json", action="store_true", help="as a JSON object")
    command.add_argument("address", metavar="ADDRESS", help="an IPv4 or IPv6 address")
    command.set_defaults(command=_lazily("why", "why"))


def _add_match(commands: _Commands) -> None:
    command = _command(
        commands,
        "match",
        "say which format a line matches, or how far each got; or which formats a log holds",
    )
    add_patterns(command)
    command.add_argument(
        "line",
        nargs="?",
        default="-",
        metavar="LINE|FILE",
        help="a whole log line (default: -, lines of standard input), or a log file, which is "
        "tried with all patterns there are",
    )
    command.set_defaults(command=_lazily("patterns", "match"))


def _add_new_pattern(commands: _Commands) -> None:
    command = _command(commands, "new-pattern", "print the beginning of a pattern file for a line")
    command.add_argument("name", metavar="NAME", help="what the format is called")
    command.add_argument(
        "line",
        nargs="?",
        default="-",
        metavar="LINE",
        help="a whole line of a login (default: -, the first line of standard input)",
    )
    command.add_argument("--user", metavar="TEXT", help="the user, as the line has it")
    command.add_argument("--address", metavar="TEXT", help="the client's address, likewise")
    command.epilog = (
        "Exits with 1 where the pattern does not load yet; its first line then says why."
    )
    command.set_defaults(command=_lazily("patterns", "new_pattern"))


def _add_check(commands: _Commands) -> None:
    command = _command(
        commands, "check", "check the settings, and the patterns with their examples"
    )
    command.add_argument("--log", action="append", metavar="PATH", help="log to look for")
    add_patterns(command)
    add_map(command)
    add_answering(command)
    add_judging(command)
    add_control(command)
    add_metrics(command)
    add_shared(command)
    command.set_defaults(command=_lazily("patterns", "check"))


def _add_rebuild(commands: _Commands) -> None:
    command = _command(commands, "rebuild", "make a new map out of the logs; the old one is kept")
    command.add_argument(
        "--log",
        action="append",
        metavar="PATH",
        help="log to read, may be given again (default: /var/log/mail.log)",
    )
    add_patterns(command)
    add_map(command)
    add_judging(command)
    command.set_defaults(command=_lazily("rebuild", "run"))


def _add_status(commands: _Commands) -> None:
    command = _command(commands, "status", "show what the daemon does")
    add_map(command)
    command.add_argument("--json", action="store_true", help="all of it, as one JSON object")
    command.epilog = (
        "Exits with 0 where the daemon answers; with 1 where there is a map and no daemon answers, "
        "and prints what the map tells; with 2 where there is no map, or this user may not ask."
    )
    command.set_defaults(command=_lazily("status", "run"))


def _add_top(commands: _Commands) -> None:
    command = _command(commands, "top", "show what the daemon does, again and again; q ends it")
    add_map(command)
    command.add_argument("--every", metavar="D", default="1s", help="how often (default: 1s)")
    command.add_argument("--count", type=int, metavar="N", help="end after so many times")
    command.epilog = (
        "Where the output is no terminal: a line of columns each time.  Begins only where a daemon "
        "answers, with the exit codes of status; waits for one that is restarted meanwhile."
    )
    command.set_defaults(command=_lazily("top", "run"))


def _add_shared(commands: _Commands) -> None:
    text = "make, check or list what several hosts share; exits with 1 where something is wrong"
    command = _command(commands, "shared", text)
    add_shared(command)
    command.add_argument("--window", metavar="D", help="how long a login grants (default: 30m)")
    command.add_argument("--json", action="store_true", help="for list and check: as JSON")
    command.add_argument("--orders", action="store_true", help="for list: the orders instead")
    command.add_argument(
        "what",
        choices=("init", "check", "list"),
        help="init: make the tables, or show what the account needs; check: try all that the "
        "daemon does; list: what the engine keeps",
    )
    command.set_defaults(command=_lazily("shared", "run"))


def _add_doctor(commands: _Commands) -> None:
    text = "check the whole set-up: what is fine, what is not, and what mends it"
    command = _command(commands, "doctor", text)
    command.add_argument(
        "--log", action="append", metavar="PATH", help="log to look at, may be given again"
    )
    add_patterns(command)
    add_map(command)
    add_answering(command)
    add_judging(command)
    add_control(command)
    add_shared(command)
    add_places(command)
    command.add_argument("-q", "--quiet", action="store_true", help="print only what is not fine")
    command.add_argument("--json", action="store_true", help="as a JSON object")
    command.epilog = (
        "Changes nothing.  Exits with 0 where nothing is wrong; with 1 where something is; what is "
        "only worth a look, or cannot be seen by this user, does not fail.  docs/doctor.rst "
        "explains each check."
    )
    command.set_defaults(command=_lazily("doctor", "run"))


def _add_selftest(commands: _Commands) -> None:
    text = "follow one marked login from the syslog to its grant, a lookup and its end"
    command = _command(commands, "selftest", text)
    command.add_argument(
        "--scratch",
        action="store_true",
        help="through a daemon, a log and a map of its own: touches nothing, needs no rights",
    )
    command.add_argument(
        "--log", action="append", metavar="PATH", help="log that the daemon follows"
    )
    add_patterns(command)
    add_map(command)
    add_answering(command)
    command.add_argument(
        "--wait", metavar="D", default="10s", help="for each link of the chain (default: 10s)"
    )
    command.add_argument(
        "--syslog-socket", type=Path, metavar="PATH", help="(default: the system's, /dev/log)"
    )
    command.add_argument(
        "--postfix-config", type=Path, metavar="DIR", help="(default: /etc/postfix)"
    )
    command.add_argument("--json", action="store_true", help="as a JSON list")
    command.epilog = (
        "The login is of the user pbs-watch-selftest from an address that nobody has (RFC 5737); "
        "without --scratch it is revoked at the end.  Exits with 1 where a link is broken."
    )
    command.set_defaults(command=_lazily("selftest", "run"))


def _add_setup(commands: _Commands) -> None:
    text = "show or make the changes of Postfix's, Courier's and our own settings"
    command = commands.add_parser("setup", help=text, description=text, allow_abbrev=False)
    parts = command.add_subparsers(title="parts", metavar="PART", required=True)
    part = _command(parts, "postfix", "have main.cf ask pbs-watch about relay attempts")
    _add_change(part)
    part.add_argument("--table", metavar="TYPE:NAME", help="ask this table (default: by settings)")
    part.add_argument("--postfix-config", type=Path, metavar="DIR", help="where main.cf is")
    part.set_defaults(command=_lazily("setup", "postfix"))
    part = _command(parts, "courier", "have Courier's logger truncate long lines")
    _add_change(part)
    part.add_argument(
        "--courier-config", type=Path, metavar="DIR", help="its files (default: /etc/courier)"
    )
    part.set_defaults(command=_lazily("setup", "courier"))
    part = _command(parts, "config", "set settings in the file, and leave all else in it alone")
    part.add_argument(
        "settings", nargs="+", metavar="SETTING=VALUE", help="without a VALUE: take it out"
    )
    part.set_defaults(command=_lazily("setup", "config"))


def _add_change(part: argparse.ArgumentParser) -> None:
    change = part.add_mutually_exclusive_group()
    change.add_argument("--show", action="store_true", help="what would change (the default)")
    change.add_argument("--apply", action="store_true", help="make the change")
    change.add_argument("--undo", action="store_true", help="take out exactly what was put in")


def _lazily(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command's module, which is imported when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        # Nothing of what an import makes is garbage, and looking for some costs a tenth of it.
        gc.disable()
        found = getattr(import_module(f"pbs_watch.commands.{module}"), function)
        gc.enable()
        return int(found(arguments))

    return run


_COMMANDS = {
    "run": _add_run,
    "reload": _add_reload,
    "replay": _add_replay,
    "get": _add_get,
    "list": _add_list,
    "why": _add_why,
    "allow": _add_allow,
    "revoke": _add_revoke,
    "block": _add_block,
    "unblock": _add_unblock,
    "expire": _add_expire,
    "forget": _add_forget,
    "export": _add_export,
    "import": _add_import,
    "match": _add_match,
    "new-pattern": _add_new_pattern,
    "check": _add_check,
    "rebuild": _add_rebuild,
    "health": _add_health,
    "doctor": _add_doctor,
    "selftest": _add_selftest,
    "status": _add_status,
    "top": _add_top,
    "shared": _add_shared,
    "setup": _add_setup,
}
