"""The command line: what may be asked, and how answers and errors are said.

Exit codes: 0 fine, 1 "no", 2 used wrongly or broken.  An error is one line on standard error: what,
where, what to do.  Each command imports what it needs when it runs, since ``get`` is to answer in
less than 100 ms.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from pbs_watch import __version__
from pbs_watch.errors import PatternError, PbsWatchError, UsageError
from pbs_watch.options import (
    add_answering,
    add_control,
    add_judging,
    add_map,
    add_note,
    add_patterns,
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
        arguments = _parser(words[0] if words else "").parse_args(words)
        status: int = arguments.command(arguments)
        if sys.stdout is not None:
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
    # One line, whatever a file is called and whatever a library says.
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(error))
    print(f"pbs-watch: {line}", file=sys.stderr)


def _parser(asked: str) -> argparse.ArgumentParser:
    """The parser for the command ``asked``, for all of them where it is none."""
    parser = _Parser(prog="pbs-watch", description="pop-before-smtp beside Courier and Postfix")
    parser.add_argument("--version", action="version", version=f"pbs-watch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Only the command that is asked for: building them all takes longer than a lookup.
    adding = _COMMANDS.get(asked)
    for add in (adding,) if adding is not None else _COMMANDS.values():
        add(commands)
    return parser


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
    add_shared(command)
    command.add_argument(
        "-v", "--verbose", action="store_true", help="say each login, end and refusal"
    )
    command.set_defaults(command=_lazily("run", "run"))


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
    command = _command(commands, "match", "say which format a line matches, or how far each got")
    add_patterns(command)
    command.add_argument(
        "line",
        nargs="?",
        default="-",
        metavar="LINE",
        help="a whole log line (default: -, lines of standard input)",
    )
    command.set_defaults(command=_lazily("patterns", "match"))


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
    command.add_argument(
        "what",
        choices=("init", "check", "list"),
        help="init: make the tables, or show what the account needs; check: try all that the "
        "daemon does; list: what the engine keeps",
    )
    command.set_defaults(command=_lazily("shared", "run"))


def _lazily(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command's module, which is imported when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        found = getattr(import_module(f"pbs_watch.commands.{module}"), function)
        return int(found(arguments))

    return run


_COMMANDS = {
    "run": _add_run,
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
    "check": _add_check,
    "rebuild": _add_rebuild,
    "status": _add_status,
    "top": _add_top,
    "shared": _add_shared,
}
