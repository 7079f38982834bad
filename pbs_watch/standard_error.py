"""What standard error is: the journal takes the level of a line at its beginning."""

from __future__ import annotations

import os

DESCRIPTOR = 2

ERROR, WARNING, INFO = "<3>", "<4>", "<6>"
"""How sd-daemon(3) writes the levels of syslog(3), which journald takes off and files."""


def is_the_journal() -> bool:
    """Whether standard error is connected to journald (systemd.exec(5), JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM")
    if stream is None:
        return False
    try:
        found = os.fstat(DESCRIPTOR)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
