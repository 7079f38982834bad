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


def _add_patterns(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--patterns",
        action="append",
        metavar="NAME",
        help="pattern file by name or path, may be given again (default: courier)",
    )
    command.add_argument(
        "--patterns-dir",
        action="append",
        metavar="DIR",
        help="where your own patterns are, may be given again (default: /etc/pbs-watch/patterns)",
    )


def _add_map(command: argparse.ArgumentParser, default: str = "/var/lib/pbs-watch") -> None:
    command.add_argument("--map", metavar="DIR", help=f"the map (default: {default})")


def _add_judging(command: argparse.ArgumentParser) -> None:
    command.add_argument("--window", metavar="D", help="how long a login grants (default: 30m)")
    command.add_argument(
        "--session-limit", metavar="D", help="how long an open session holds (default: 4h)"
    )
    command.add_argument(
        "--never",
        metavar="NET,...",
        help="networks that are never granted; own, gateway; none clears the list",
    )
    command.add_argument(
        "--hosts",
        action="append",
        metavar="HOST",
        help="only lines of this host count, may be given again; none: all hosts",
    )
    command.add_argument(
        "--journal-trust",
        action="append",
        metavar="FIELD=VALUE",
        help="what an entry of the journal must fulfil (default: courierlogger, running as root)",
    )
    command.add_argument("--zone", metavar="ZONE", help="zone of stamps without one (local)")
    command.add_argument(
        "--cuts", metavar="MODE", help="strict (default), next or off: see README, Forged lines"
    )


def _add_answering(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tcp-table",
        action="append",
        metavar="ADDR:PORT",
        help="answer tcp_table lookups there (default: 127.0.0.1:10041)",
    )
    command.add_argument(
        "--socketmap",
        action="append",
        metavar="ADDR:PORT|unix:PATH",
        help="answer socketmap lookups there",
    )
    command.add_argument("--answer", metavar="TEXT", help="the value of a grant (default: OK)")
    command.add_argument(
        "--trouble", metavar="HOW", help="tempfail (default) or defer, when we cannot know"
    )
    command.add_argument(
        "--allow-remote",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="allow addresses other than loopback",
    )


def _add_run(commands: _Commands) -> None:
    command = _command(commands, "run", "follow the log and answer Postfix, in the foreground")
    command.add_argument(
        "--log",
        action="append",
        metavar="PATH",
        help="log to follow: a file, journal: or -; may be given again (/var/log/mail.log)",
    )
    _add_patterns(command)
    _add_map(command)
    _add_answering(command)
    _add_judging(command)
    command.add_argument(
        "-v", "--verbose", action="store_true", help="say each login, end and refusal"
    )
    command.set_defaults(command=_lazily("run", "run"))


def _add_replay(commands: _Commands) -> None:
    command = _command(commands, "replay", "run the same rules over log files")
    _add_patterns(command)
    _add_map(command, "a temporary one")
    _add_judging(command)
    _add_answering(command)
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
    _add_map(command)
    command.add_argument("--answer", help=argparse.SUPPRESS)
    command.add_argument("key", metavar="KEY", help="an address, as Postfix asks for it")
    command.set_defaults(command=_lazily("grants", "get"))


def _add_list(commands: _Commands) -> None:
    command = _command(commands, "list", "list the grants")
    _add_map(command)
    command.add_argument("--json", action="store_true", help="as a JSON list")
    command.set_defaults(command=_lazily("grants", "list_grants"))


def _add_match(commands: _Commands) -> None:
    command = _command(commands, "match", "say which format a line matches, or how far each got")
    _add_patterns(command)
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
    _add_patterns(command)
    command.set_defaults(command=_lazily("patterns", "check"))


def _add_rebuild(commands: _Commands) -> None:
    command = _command(commands, "rebuild", "make a new map out of the logs; the old one is kept")
    command.add_argument(
        "--log",
        action="append",
        metavar="PATH",
        help="log to read, may be given again (default: /var/log/mail.log)",
    )
    _add_patterns(command)
    _add_map(command)
    _add_judging(command)
    command.set_defaults(command=_lazily("rebuild", "run"))


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
    "match": _add_match,
    "check": _add_check,
    "rebuild": _add_rebuild,
}
