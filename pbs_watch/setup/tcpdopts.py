"""Courier's cure: its logger truncates long lines instead of cutting them (facts/courier.md).

The files in /etc/courier are shell: three lines at the end extend ``TCPDOPTS``, so that no line
that is there changes and ours can be told again.  ``imapd-ssl`` is read after ``imapd`` and takes
its ``TCPDOPTS``; of an option given twice couriertcpd takes the later.
"""

from __future__ import annotations

import re

SERVICES = ("imapd", "imapd-ssl", "pop3d", "pop3d-ssl")
"""The files, each with the name of the service that it logs under."""

_BEGIN = "# pbs-watch begin: long log lines are truncated (pbs-watch setup courier --undo)"
_END = "# pbs-watch end"
_OURS = re.compile(
    rf"^{re.escape(_BEGIN)}\n.*?^{re.escape(_END)}(?:\n|\Z)", re.MULTILINE | re.DOTALL
)
_THEIRS = re.compile(r"^[ \t]*TCPDOPTS=.*-stderrlogger=", re.MULTILINE)


def lines(service: str) -> str:
    """What is added to the file of a service."""
    options = f"-stderrlogger=/usr/sbin/courierlogger -stderrloggername={service}"
    return f'{_BEGIN}\nTCPDOPTS="$TCPDOPTS {options}"\n{_END}\n'


def cured(text: str) -> bool:
    """Whether a file has the cure, by us or by hand."""
    return _OURS.search(text) is not None or _THEIRS.search(text) is not None


def cure(text: str, service: str) -> str:
    """The file of a service with the cure."""
    return text + ("" if text.endswith("\n") or not text else "\n") + lines(service)


def undo(text: str) -> str:
    """The file without what :func:`cure` added."""
    return _OURS.sub("", text)
