"""What is checked: the settings, the daemon that runs with them, and its logs, seen once.

Every check takes what it needs from here; nothing is looked at before somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from time import time

from pbs_watch.answer.client import NobodyAnswersError
from pbs_watch.commands.state import State, taken
from pbs_watch.commands.status import told
from pbs_watch.config import Config
from pbs_watch.doctor import log, mail, records
from pbs_watch.doctor.look import Account
from pbs_watch.doctor.places import Places
from pbs_watch.doctor.restrictions import Ours
from pbs_watch.doctor.services import Facts as Postfix
from pbs_watch.log.journal import PREFIX
from pbs_watch.pattern.format import Format


@dataclass(frozen=True)
class Subject:
    """One host with one set of settings.

    ``path``: the settings' file; ``trouble``: why it cannot be used; ``patterns``: why the patterns
    cannot.
    """

    config: Config
    formats: Sequence[Format]
    places: Places
    path: str = ""
    trouble: str = ""
    patterns: str = ""

    @cached_property
    def now(self) -> float:
        """Epoch seconds: one moment for all checks."""
        return time()

    @cached_property
    def state(self) -> State | str:
        """What the daemon tells, or why nothing."""
        try:
            return taken(told(self.config.map))
        except NobodyAnswersError as error:
            return str(error)

    @cached_property
    def account(self) -> Account | None:
        """As whom the daemon runs, or would."""
        pid = self.state.pid if isinstance(self.state, State) else None
        return records.account_for(pid, self.config.map)

    @cached_property
    def logs(self) -> list[log.Facts]:
        """The followed files."""
        return [
            records.log_facts(
                name,
                self.config,
                self.formats,
                now=self.now,
                account=self.account,
                places=self.places,
            )
            for name in dict.fromkeys(self.config.log)
            if name != "-" and not name.startswith(PREFIX)
        ]

    @cached_property
    def postfix(self) -> Postfix:
        """What Postfix says of itself."""
        return mail.facts(self.places)

    @cached_property
    def tags(self) -> list[str]:
        """The tags that the patterns read."""
        return sorted({tag.decode() for fmt in self.formats for tag in fmt.tags})

    @property
    def ours(self) -> Ours:
        """Where Postfix is to ask."""
        return Ours(self.config.listening(), self.config.socketmap)
