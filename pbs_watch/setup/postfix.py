"""Postfix's main.cf, read and changed by its own tool: postconf(1).

postconf replaces main.cf whole or not at all.  It writes each parameter that it changes on one
line; the other lines stay as they are.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pbs_watch.errors import UsageError
from pbs_watch.setup import restrictions
from pbs_watch.setup.restrictions import LIST, NAME, Change

_OVERRIDING = (LIST, "smtpd_recipient_restrictions")


@dataclass(frozen=True, slots=True)
class Postfix:
    """One Postfix; ``folder`` is where its main.cf is, ``None`` for the usual place.

    Every method raises :class:`UsageError` where postconf is missing or refuses.
    """

    folder: Path | None

    def plan(self, table: str) -> Change | None:
        """What has to change so that the table is asked; ``None`` where it is asked already."""
        effective = self._value(LIST, expanded=True)
        if restrictions.asks(effective, table):
            return None
        value = restrictions.take_out(self._value(LIST))  # ours may name another table
        change = restrictions.insert(value, self._expanded(value), table)
        if not restrictions.stands(
            self._expanded(value), self._expanded(change.restrictions, change.check), change.check
        ):
            raise UsageError(
                f"{LIST}: a program cannot change what has this form; see README, Set it up"
            )
        return change

    def apply(self, change: Change) -> None:
        """Write the change."""
        self._postconf("-e", f"{NAME} = {change.check}", f"{LIST} = {change.restrictions}")

    def undo(self) -> bool:
        """Take out what :meth:`apply` wrote; ``False`` where nothing of it is there."""
        value, defined = self._value(LIST), NAME in self._names()
        if restrictions.mentions(value):
            value = restrictions.take_out(value)
            if value == self._postconf("-dh", LIST).strip():
                self._postconf("-X", LIST)  # main.cf did not say it
            else:
                self._postconf("-e", f"{LIST} = {value}")
        elif not defined:
            return False
        if defined:
            self._postconf("-X", NAME)
        return True

    def others(self) -> list[str]:
        """Parameters of main.cf and services of master.cf that hold our word besides the list."""
        lines = [*self._lines("-n"), *self._lines("-P")]
        held = [line.partition(" = ")[0] for line in lines if restrictions.mentions(line)]
        return [name for name in held if name != LIST]

    def overriding(self) -> list[str]:
        """What master.cf says of relaying for single services: ``submission/inet/...``."""
        names = [line.partition(" = ")[0] for line in self._lines("-P")]
        return [name for name in names if name.rpartition("/")[2] in _OVERRIDING]

    def seen(self, path: str) -> str:
        """A path as smtpd sees it, which Debian keeps in a chroot."""
        service = self._lines("-F", "smtp/inet/chroot")
        queue = self._value("queue_directory")
        if service and service[0].endswith("= y") and path.startswith(f"{queue}/"):
            return path.removeprefix(queue)
        return path

    def _value(self, name: str, *, expanded: bool = False) -> str:
        return self._postconf("-xh" if expanded else "-h", name).strip()

    def _expanded(self, value: str, check: str = "") -> str:
        """What a value of the list means, and our parameter in it."""
        override = ["-o", f"{NAME}={check}"] if check else []
        return self._postconf(*override, "-o", f"{LIST}={value}", "-xh", LIST).strip()

    def _names(self) -> list[str]:
        return [line.partition(" = ")[0] for line in self._lines("-n")]

    def _lines(self, *words: str) -> list[str]:
        return self._postconf(*words).splitlines()

    def _postconf(self, *words: str) -> str:
        where = [] if self.folder is None else ["-c", os.fspath(self.folder)]
        try:
            ended = subprocess.run(
                ["postconf", *where, *words], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise UsageError(
                f"postconf: cannot be run ({error.strerror}); is Postfix installed, is this root?"
            ) from None
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or ["no reason given"]
            raise UsageError(f"{said[-1]}; nothing was changed by this command")
        return ended.stdout
