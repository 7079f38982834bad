"""What the daemon tells about its grants: the audit trail, and warnings where they are due.

One line for each event, in the log of the process (standard error), where ``audit`` asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from time import time

from pbs_watch.answer.verdict import Verdict
from pbs_watch.audit import Form, line
from pbs_watch.escape import shown
from pbs_watch.grants.acts import Act
from pbs_watch.grants.events import Event
from pbs_watch.grants.policy import Policy
from pbs_watch.grants.rows import unpack_grant, unpack_time
from pbs_watch.grants.screens import ALARM
from pbs_watch.grants.sweep import Over
from pbs_watch.notices import Notices, Seldom
from pbs_watch.shared.engine import Shared
from pbs_watch.witness import Gone

trail = logging.getLogger("pbs_watch.audit")

_ALARMS = {
    "users": "more users than max_users_per_address logged in from {address}, {user} the latest",
    "addresses": "{user} logged in from more addresses than max_addresses_per_user, {address} the "
    "latest: a stolen password?",
    "witness": "the kernel never saw the connection of {user} from {address} that the log tells "
    "of: somebody may have written that line",
}
"""What the warnings say."""


class Trail:
    """Writes the audit trail in one form, or not at all (``None``)."""

    def __init__(self, form: Form | None, notices: Notices) -> None:
        self.form = form
        self._notices = notices
        self._limits = Seldom()

    @property
    def written(self) -> bool:
        """Whether there is a trail."""
        return self.form is not None

    def judged(self, source: str, policy: Policy, event: Event, verdict: str) -> None:
        """A login or an end of ``source`` was judged; the verdict as told by the judge."""
        reason = verdict.removeprefix(ALARM)
        word = {"logins": "granted", "ends": "ended"}.get(verdict, "refused")
        if verdict.startswith(ALARM):
            word = "alarm"
            self._warn(reason, event)
        if self.form is None:
            return
        now = time()
        until = policy.until(event, now) if word in {"granted", "ended"} else 0.0
        self._write(
            word,
            event.time,
            address=event.address,
            user=event.user,
            service=event.service,
            host=event.host or None,
            # An end that proves a login grants, most often; a login grants at least by its session.
            until=until if word == "granted" or until > now else None,
            reason=reason if word in {"refused", "alarm"} else None,
            source=source,
            offset=event.offset,
        )

    def _warn(self, reason: str, event: Event) -> None:
        text = _ALARMS[reason].format(address=event.address.decode(), user=f"'{shown(event.user)}'")
        self._notices.warn(f"alarm {reason}", text)

    def found(self, engine: str, logins: Iterable[Shared], now: float) -> None:
        """Another host knew of logins, which grant here too."""
        if self.form is None:
            return
        for one in logins:
            self._write(
                "found",
                now,
                address=one.address,
                user=one.user,
                service=one.service,
                login=one.login,
                until=one.expires,
                source=engine,
            )

    def over(self, grants: Iterable[Over]) -> None:
        """Grants ended: their windows were over, and no session held their addresses."""
        if self.form is None:
            return
        for one in grants:
            grant = unpack_grant(one.grant)
            self._write(
                "expired",
                unpack_time(one.ended),
                address=one.address,
                user=grant.user,
                service=grant.service,
                login=grant.login,
            )

    def acts(self, acts: Sequence[Act]) -> None:
        """The operator did something by hand."""
        if any(act.what == "forget" for act in acts):
            self._limits = Seldom()
        if self.form is None:
            return
        for act in acts:
            word = _DONE.get(act.what, act.what)
            fields = {"on": act.on or None, "by": act.by, "until": act.until}
            said = line(self.form, word, act.time, **fields, note=act.note or None)
            trail.info("%s", said, extra={"act": True})  # which is not dropped with the others

    def gone(self, gone: Gone, now: float) -> None:
        """The kernel knows the connection of an open session no more."""
        if self.form is not None:
            self._write(
                "ended",
                now,
                address=gone.address,
                user=gone.key.user,
                service=gone.key.service,
                reason="witness",
            )

    def limited(self, address: bytes, user: bytes, now: float) -> None:
        """A lookup would have permitted but for the relay limit: told once a minute of a user."""
        self._notices.warn(
            "limit",
            f"'{shown(user)}' relays more than relay_limit allows, now from {address.decode()}",
        )
        if self.form is not None and (times := self._limits.due(user)):
            self._write(
                "refused", now, address=address, user=user, reason="relay_limit", times=str(times)
            )

    def shadowed(self, address: bytes, verdict: Verdict, now: float) -> None:
        """A lookup was answered "no" because of ``shadow``."""
        self._write("shadow", now, address=address, answer=verdict.value)

    def _write(self, event: str, when: float, **fields: bytes | str | float | None) -> None:
        trail.info("%s", line(self.form or "text", event, when, **fields))


_DONE = {
    "allow": "allowed",
    "revoke": "revoked",
    "block": "blocked",
    "unblock": "unblocked",
    "expire": "expired",
    "forget": "forgotten",
    "import": "imported",
}
"""The events that the commands by hand are."""
