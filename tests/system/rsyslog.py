"""Debian's rsyslog on a mail host, with Debian's configuration but for the kernel's messages."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from tests.daemon import until
from tests.system.host import Host

Stamps = Literal["rfc3339", "bsd"]

_BSD = 'module(load="builtin:omfile" Template="RSYSLOG_TraditionalFileFormat")\n'


class Rsyslog:
    """A running rsyslogd; ``log`` is the mail log that it writes, seen from outside."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._marks = 0
        self.stamps: Stamps = "rfc3339"
        self.log = host.path("/var/log/mail.log")
        # imklog would take the kernel's messages away from the machine.
        text = Path("/etc/rsyslog.conf").read_text()
        kept = [line for line in text.splitlines(keepends=True) if "imklog" not in line]
        (host.home / "rsyslog.conf").write_text("".join(kept))

    def start(self, stamps: Stamps = "rfc3339") -> None:
        """Start it with one of its templates: Debian 12's, or what was the default before."""
        self.stamps = stamps
        template = self._host.path("/etc/rsyslog.d/00-template.conf")
        template.write_text(_BSD if stamps == "bsd" else "")
        self._host.launch(
            "rsyslogd", "-f", self._host.home / "rsyslog.conf", "-i", "/run/rsyslogd.pid"
        )
        self.mark()

    def stop(self) -> None:
        """Stop it; what was logged before is in the log."""
        self._host.run("sh", "-c", "kill $(cat /run/rsyslogd.pid)")
        until(lambda: not self._host.path("/run/rsyslogd.pid").exists(), "rsyslogd has ended")

    def stuttering(self) -> AbstractContextManager[None]:
        """Let it stand still for 20 of every 30 ms: what is logged piles up before it."""
        pid = self._host.path("/run/rsyslogd.pid").read_text().strip()
        return self._host.meanwhile(f"kill -STOP {pid}; sleep 0.02; kill -CONT {pid}; sleep 0.01")

    def flooded(self) -> AbstractContextManager[None]:
        """Let others log some 20,000 lines a second."""
        return self._host.meanwhile("seq 1000 | logger -p mail.info -t postfix/smtpd; sleep 0.05")

    def reopen(self) -> None:
        """What Debian's logrotate does in the end."""
        self._host.run("sh", "-c", "kill -HUP $(cat /run/rsyslogd.pid)")

    def mark(self) -> None:
        """Log a line and wait until it is in the log: all that was logged before is, too."""
        self._marks += 1
        self._mark()
        until(self._marked, "a mark in the log")

    def fresh(self) -> None:
        """Begin a new log that has no predecessor."""
        for path in self.log.parent.glob("mail.log*"):
            path.unlink()
        self.reopen()
        self._marks += 1
        # What is logged before the signal is heard goes to the old file.
        until(self._marked_anew, "a new log")

    def _mark(self) -> None:
        self._host.run("logger", "-p", "mail.info", "-t", "test", f"mark {self._marks}.")

    def _marked_anew(self) -> bool:
        self._mark()
        return self._marked()

    def _marked(self) -> bool:
        return self.log.exists() and f"mark {self._marks}." in self.text()

    def text(self) -> str:
        """The whole log."""
        return self.log.read_bytes().decode(errors="backslashreplace")
