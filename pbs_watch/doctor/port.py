"""Whether the addresses on which Postfix asks belong to our daemon, and answer.  Pure.

A tcp_table has no authentication: whoever has the port answers (facts/postfix.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pbs_watch.doctor.finding import Finding, fine, look, unseen, wrong

_SLOW = 1.0
"""Seconds in which an answer always comes (promise 4)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``where``: as in the setting.  ``owner``: the process that listens, ``None``: unknown, and
    ``uid`` its user.  ``daemon``: our daemon's process, ``None`` where none answers, and
    ``daemon_uid``.  ``answer``: to a lookup of 0.0.0.0, which can be nobody's address: ``found``,
    ``absent``, ``trouble``, or else ``said``; ``why``: why there is none.
    """

    where: str
    listening: bool | None
    owner: int | None = None
    owner_name: str = ""
    uid: int | None = None
    daemon: int | None = None
    daemon_uid: int | None = None
    answer: str = ""
    said: str = ""
    why: str = ""
    seconds: float = 0.0


def judge(facts: Facts) -> Iterator[Finding]:
    """All that is to be said of one address."""
    where = facts.where
    if facts.listening is False:
        yield wrong("port-ours", f"{where}: nobody listens there", "systemctl start pbs-watch")
        return
    yield _owner(facts)
    yield _answer(facts)


def _owner(facts: Facts) -> Finding:
    where = facts.where
    if facts.daemon is None:
        return unseen(
            "port-ours",
            f"{where}: who listens there, as no daemon tells its process",
            "run doctor as root, with the settings of the daemon",
        )
    known = facts.owner is not None
    if facts.owner == facts.daemon:
        return fine("port-ours", f"{where}: our daemon listens there (process {facts.daemon})")
    if not known and (facts.uid is None or facts.uid == facts.daemon_uid):
        if facts.uid is None:
            return unseen("port-ours", f"{where}: who listens there", "run doctor as root")
        return fine("port-ours", f"{where}: a process of our daemon's user listens there")
    who = (
        f"process {facts.owner} ({facts.owner_name})" if known else f"a process of uid {facts.uid}"
    )
    return wrong(
        "port-ours",
        f"{where}: {who} listens there, and not our daemon: it may permit whom it likes",
        "end it (ss -lntp), and restart pbs-watch",
    )


def _answer(facts: Facts) -> Finding:
    where = facts.where
    if facts.answer == "absent":
        if facts.seconds > _SLOW:
            return look(
                "port-answers", f"{where}: answers after {facts.seconds:.1f} s", "pbs-watch status"
            )
        return fine("port-answers", f"{where}: answers within {max(facts.seconds, 0.001):.3f} s")
    if facts.answer == "found":
        return wrong(
            "port-answers",
            f"{where}: permits 0.0.0.0, which is nobody's address",
            "pbs-watch list --orders shows what is allowed",
        )
    if facts.answer == "trouble":
        return wrong(
            "port-answers",
            f"{where}: answers that it cannot tell now",
            "pbs-watch status says which log cannot be read, or what is wrong with the map",
        )
    if facts.said:
        return wrong(
            "port-answers",
            f"{where}: answers {facts.said!r}, which is not ours",
            "look who listens there: ss -lntp",
        )
    return wrong("port-answers", f"{where}: does not answer ({facts.why})", "pbs-watch status")
