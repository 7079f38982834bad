"""Debian's Postfix on a mail host: one smtpd for each way of asking us, port 25 and submission.

Port 25 is kept for mail to our own domain.  587 is for the users: it accepts grants and SASL
(Cyrus, sasldb).  The others carry the recommended restrictions and differ in the table: ours by
each protocol, and tables of Postfix's own that ``export --table`` makes.  All smtpds are in the
chroot as Debian has them, but for 587, whose sasldb lies outside.  Whatever is accepted is
delivered to one Maildir, so that it can be counted.
"""

from __future__ import annotations

import contextlib
import shutil
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import listens, until
from tests.system.courier import server_for
from tests.system.host import Host

INBOUND = "postmaster@inbound.example"
OUTSIDE = "someone@outside.example"

TCP = "127.0.0.1:10041"
SOCKETMAP = "127.0.0.1:10042"
SOCKET = "pbs-watch/socketmap"
"""Below Postfix's queue directory, which is where its daemons are, in the chroot or not."""

TABLES = {
    "tcp": f"tcp:{TCP}",
    "proxy:tcp": f"proxy:tcp:{TCP}",
    "socketmap:inet": f"socketmap:inet:{SOCKETMAP}:relay",
    "socketmap:unix": f"socketmap:unix:{SOCKET}:relay",
}
"""Ways of asking the daemon, by Postfix's names."""

TYPES = ("hash", "btree", "lmdb", "cdb")
"""The types of tables that postmap writes on Debian 12 (postfix-lmdb, postfix-cdb among them)."""

PORTS = {"smtp": 25, "submission": 587} | {
    name: 10025 + number for number, name in enumerate((*TABLES, *TYPES))
}

SASL_USER, SASL_PASSWORD = "dave", "battery staple"

_MAIN_CF = """
myhostname = mail.inbound.example
mydestination = inbound.example
# Nobody is known by his address alone, not even loopback.
mynetworks = 192.168.255.255/32
inet_interfaces = all
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
alias_maps =
alias_database =
local_recipient_maps =
local_transport = virtual
relay_transport = virtual
default_transport = virtual
virtual_mailbox_base = {delivered}
# By default the domains are the keys of the maps: every domain.
virtual_mailbox_domains =
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
# Else a second for each message that comes faster than it is delivered.
in_flow_delay = 0
proxy_read_maps = {proxied}
"""

_CHECKED = """
{port} inet n - y - - smtpd
  -o max_use={max_use}
  -o {{ smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated,
  permit_auth_destination, check_client_access {table},
  reject_unauth_destination }}
"""

_SUBMISSION = """
submission inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=
  -o {{ smtpd_recipient_restrictions = permit_sasl_authenticated,
  check_client_access {table}, reject }}
"""

_SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN
sasldb_path: /etc/postfix/sasl/sasldb2
"""


@dataclass(frozen=True, slots=True)
class Session:
    """One SMTP session of one client."""

    smtp: smtplib.SMTP

    def rcpt(self, recipient: str) -> int:
        """Return the code that answers RCPT TO ``recipient``."""
        return self.smtp.rcpt(recipient)[0]

    def send(self, subject: str = "a test") -> int:
        """Return the code that answers a message to the recipients accepted so far."""
        return self.smtp.data(f"Subject: {subject}\r\n\r\nHello.\r\n")[0]


class Postfix:
    """The running Postfix of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.spool = host.path("/var/spool/postfix")
        self._delivered = host.home / "delivered"
        self._delivered.mkdir()
        shutil.chown(self._delivered, 65534, 65534)
        self.tables = host.home / "tables"
        self.tables.mkdir()
        self._configure()

    def _configure(self) -> None:
        etc = self._host.path("/etc/postfix")
        share = Path("/usr/share/postfix")
        main = _MAIN_CF.format(delivered=self._delivered, proxied=TABLES["proxy:tcp"])
        (etc / "main.cf").write_text((share / "main.cf.debian").read_text() + main)
        asked = {**TABLES, **{kind: f"{kind}:{self.tables / kind}" for kind in TYPES}}
        services = [
            # One session for each smtpd that asks us: no test meets the connections of another.
            _CHECKED.format(port=PORTS[name], table=table, max_use=1 if name in TABLES else 100)
            for name, table in asked.items()
        ]
        services.append(_SUBMISSION.format(table=TABLES["tcp"]))
        (etc / "master.cf").write_text((share / "master.cf.dist").read_text() + "".join(services))
        for kind in TYPES:
            (self.tables / kind).touch()
            self._host.run("postmap", f"{kind}:{self.tables / kind}")
        (etc / "sasl" / "smtpd.conf").write_text(_SASL)
        database = "/etc/postfix/sasl/sasldb2"
        words = ("saslpasswd2", "-c", "-p", "-f", database, "-u", "mail.inbound.example", SASL_USER)
        self._host.run(*words, given=SASL_PASSWORD)
        shutil.chown(self._host.path(database), group="postfix")
        shutil.chown(self._host.path("/var/lib/postfix"), "postfix")
        (self.spool / "dev").mkdir()
        (self.spool / "pbs-watch").mkdir()

    def start(self) -> None:
        """Start it and wait for its ports; from the host's network."""
        self._host.launch("postfix", "start")
        where = [f"127.0.0.1:{port}" for port in PORTS.values()]
        until(lambda: all(map(listens, where)), "all ports are open")

    def reload(self) -> None:
        """Make it read its configuration again."""
        self._host.run("postfix", "reload")

    def flush(self) -> None:
        """Deliver what was deferred, at once."""
        self._host.run("postqueue", "-f")

    @contextlib.contextmanager
    def session(self, client: str, service: str = "tcp") -> Iterator[Session]:
        """Open an SMTP session from ``client`` that is ready for recipients."""
        host, port = server_for(client), PORTS[service]
        with smtplib.SMTP(host, port, "client.example", 60, (client, 0)) as smtp:
            smtp.ehlo("client.example")
            assert smtp.mail("sender@home.example")[0] == 250
            yield Session(smtp)

    def postmap(self, key: str, table: str) -> tuple[int, str]:
        """Ask ``table`` for ``key`` as an administrator does: exit code, and what was printed."""
        done = self._host.ended(
            "sh", "-c", f"cd /var/spool/postfix && exec postmap -q {key} {table}"
        )
        return done.returncode, done.stdout

    def delivered(self) -> list[str]:
        """The subjects of all messages that were delivered, in no order."""
        subjects = []
        for path in (self._delivered / "all" / "new").glob("*"):
            for line in path.read_text().splitlines():
                if line.startswith("Subject: "):
                    subjects.append(line.removeprefix("Subject: "))
                    break
        return subjects
