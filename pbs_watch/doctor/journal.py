"""Whether the journal, followed instead of a file, gives us what Courier logs.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pbs_watch.doctor.finding import Finding, fine, look, unseen, wrong


@dataclass(frozen=True, slots=True)
class Facts:
    """``why``: why journalctl told nothing.  ``entries``: that fulfil ``journal_trust``, of the
    last day; ``others``: that do not, and have one of the patterns' tags.  ``permitted``: whether
    the daemon's user ``account`` is in a group that may read the journal, ``None``: unknown.
    """

    name: str
    why: str = ""
    entries: int = 0
    others: int = 0
    permitted: bool | None = None
    account: str = ""


def judge(facts: Facts, trust: Sequence[str]) -> Iterator[Finding]:
    """``trust``: the setting ``journal_trust``."""
    name = facts.name
    if facts.why:
        yield wrong("journal", f"{name}: {facts.why}", "install systemd, or follow a file")
        return
    if facts.permitted is False:
        yield wrong(
            "journal",
            f"{name}: {facts.account} may not read it",
            f"adduser {facts.account} systemd-journal, and restart pbs-watch",
        )
    elif facts.permitted is None:
        yield unseen("journal", f"{name}: whether the daemon may read it", "run doctor as root")
    if not trust:
        yield wrong(
            "journal-trust",
            "journal_trust is empty: any local user can write logins with logger(1)",
            "take journal_trust out of the settings",
        )
    elif facts.entries:
        yield fine("journal-trust", f"{name}: {facts.entries:,} entries of {' '.join(trust)} a day")
    elif facts.others:
        yield wrong(
            "journal-trust",
            f"{name}: {facts.others:,} entries have a tag of ours and none fulfils "
            f"{' '.join(trust)}",
            "look at one with journalctl -o verbose -t pop3d, and set journal_trust to its "
            "trusted fields",
        )
    else:
        yield look(
            "journal-trust",
            f"{name}: no entry of {' '.join(trust)} for a day",
            "log in by POP3 or IMAP once, and run doctor again",
        )
