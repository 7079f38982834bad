"""Options that several commands share, in groups; :mod:`pbs_watch.cli` says which has which.

Each setting of the configuration file has an option of its name; :mod:`pbs_watch.values` reads it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_patterns(command: argparse.ArgumentParser) -> None:
    """Which formats are looked for."""
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


def add_map(command: argparse.ArgumentParser, default: str = "/var/lib/pbs-watch") -> None:
    """Where the map is."""
    command.add_argument("--map", metavar="DIR", help=f"the map (default: {default})")


def add_judging(command: argparse.ArgumentParser) -> None:
    """Who may be granted, and for how long."""
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
        "--windows",
        action="append",
        metavar="FORMAT=D|@DOMAIN=D",
        help="another window for a format or for users of a domain, may be given again",
    )
    command.add_argument(
        "--prefix", metavar="BITS", help="IPv6 addresses granted together: 128 (default) or 64"
    )
    command.add_argument(
        "--only", metavar="NET,...", help="networks that alone are granted; none: all (default)"
    )
    command.add_argument(
        "--ignore-users",
        action="append",
        metavar="USER|@DOMAIN",
        help="logins of this user grant nothing, may be given again; none clears the list",
    )
    add_folding(command)
    command.add_argument(
        "--max-users-per-address", metavar="N", help="more of them are alarming (0: any number)"
    )
    command.add_argument(
        "--max-addresses-per-user", metavar="N", help="more of them are alarming (0: any number)"
    )
    command.add_argument(
        "--over-limit", metavar="HOW", help="alarm (default) or refuse what these two limit"
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


def add_folding(command: argparse.ArgumentParser) -> None:
    """Whether users are told apart by the case of their names."""
    command.add_argument(
        "--fold-users",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether Bob and bob are one user (default: they are)",
    )


def add_control(command: argparse.ArgumentParser) -> None:
    """What the daemon alone does."""
    command.add_argument(
        "--relay-limit",
        metavar="N/D",
        help="lookups that may permit for one user in so much time, such as 100/1h; none (default)",
    )
    command.add_argument(
        "--over-relay-limit", metavar="HOW", help="beyond it answer trouble (default) or no"
    )
    command.add_argument(
        "--witness",
        metavar="HOW",
        help="ask the kernel for the clients' connections: off (default), hold, alarm, require",
    )
    command.add_argument(
        "--witness-ports",
        action="append",
        metavar="PORT",
        help="ports of the mail server, may be given again (default: 110, 143, 993, 995)",
    )
    command.add_argument(
        "--miss-wait",
        metavar="D",
        help="how long a miss waits for the login of a client that the kernel knows to be "
        "connected to the mail server, such as 0.2s; none (default)",
    )
    command.add_argument(
        "--shadow",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="answer every lookup with no, and say what would have been answered",
    )
    command.add_argument(
        "--retention",
        metavar="D",
        help="how long what is over is remembered, with addresses and users (default: 7d)",
    )
    command.add_argument(
        "--audit", metavar="FORM", help="a line for each event: off (default), text or json"
    )


def add_metrics(command: argparse.ArgumentParser) -> None:
    """How the daemon is watched."""
    command.add_argument(
        "--metrics", metavar="ADDR:PORT", help="tell Prometheus metrics there; off (default)"
    )
    command.add_argument(
        "--metrics-file",
        metavar="PATH",
        help="write them for the textfile collector, every 15 s; off (default)",
    )


def add_shared(command: argparse.ArgumentParser) -> None:
    """Which engine shares the grants with other hosts."""
    command.add_argument(
        "--shared",
        metavar="URL",
        help="share grants: redis://HOST:PORT/DB, redis+sentinel://HOST,.../NAME, "
        "mysql://USER@HOST/DATABASE, mysql:FILE.cf; none (default)",
    )
    command.add_argument("--shared-host", metavar="NAME", help="this host's name for the others")
    command.add_argument("--shared-password-file", metavar="FILE", help="holds the password")
    command.add_argument("--shared-ca-file", metavar="FILE", help="verifies the engine; means TLS")
    command.add_argument("--shared-cert-file", metavar="FILE", help="our certificate for TLS")
    command.add_argument("--shared-key-file", metavar="FILE", help="its key")
    command.add_argument(
        "--shared-deadline", metavar="D", help="how long an answer may take (default: 50ms)"
    )
    command.add_argument(
        "--shared-linger", metavar="D", help="how long a miss waits to be asked (default: 250ms)"
    )
    command.add_argument(
        "--shared-trouble",
        metavar="HOW",
        help="while the engine is away, for what only others know: trouble (default) or no",
    )
    command.add_argument(
        "--shared-layout", metavar="NAME", help="own (default) or authpfix: its old table"
    )
    command.add_argument("--shared-table", metavar="NAME", help="the old table's name")


def add_answering(command: argparse.ArgumentParser) -> None:
    """Where lookups are answered, and what is said."""
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


def add_places(command: argparse.ArgumentParser) -> None:
    """Where the other programs' configuration is."""
    command.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="where /etc and the like of the other programs begin: a container's file system",
    )
    for name, kind, default in (
        ("postfix", "DIR", "/etc/postfix"),
        ("courier", "DIR", "/etc/courier"),
        ("syslog", "FILE", "/etc/rsyslog.conf, or syslog-ng's"),
        ("logrotate", "FILE", "/etc/logrotate.conf"),
    ):
        command.add_argument(
            f"--{name}-config", type=Path, metavar=kind, help=f"(default: {default} below --root)"
        )


def add_subject(command: argparse.ArgumentParser) -> None:
    """Whom an order is about."""
    command.add_argument("subject", nargs="?", metavar="ADDRESS", help="an address or a network")
    command.add_argument("--user", metavar="U", help="a user, as pbs-watch list shows him")
    add_folding(command)


def add_note(command: argparse.ArgumentParser) -> None:
    """What the operator wants to be remembered."""
    command.add_argument("--note", metavar="TEXT", help="why, for who comes after you")
