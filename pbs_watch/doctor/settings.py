"""Whether the settings can be read, and are sensible.  Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pbs_watch.config import Config
from pbs_watch.doctor.finding import Finding, fine, look, wrong

_LONG, _SHORT = 12 * 3600.0, 300.0
"""Seconds: an address of a home changes hands within a day, and mail programs look every few
minutes."""

_PERMITS = re.compile(r"(?i)OK|RELAY|PERMIT|\d+")
"""Values of access(5) that permit."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``config``: the settings, the defaults where ``trouble`` says why they cannot be read.
    ``patterns``: what is wrong with the patterns.  ``path``: the settings' file, empty: none.
    ``kernel``: why the kernel does not tell connections.  ``mail_ports``: those of
    ``witness_ports`` on which somebody listens here; ``None``: unknown.
    """

    config: Config
    path: str = ""
    trouble: str = ""
    patterns: str = ""
    kernel: str = ""
    mail_ports: frozenset[int] | None = None


def judge(facts: Facts) -> Iterator[Finding]:
    """All that is to be said of the settings alone."""
    if facts.trouble:
        yield wrong("settings", facts.trouble, "pbs-watch check; what follows holds for defaults")
    else:
        yield fine("settings", f"{facts.path or 'no file: the defaults'} can be used")
    if facts.patterns:
        yield wrong("settings-patterns", facts.patterns, "pbs-watch check")
    config = facts.config
    yield from _windows(config)
    yield from _answers(config)
    yield from _witness(facts, config)


def _windows(config: Config) -> Iterator[Finding]:
    sound = True
    for name, window in (("window", config.window), *config.windows.items()):
        if window > _LONG:
            sound = False
            yield look(
                "settings-window",
                f"{name} is {window / 3600:.0f} h: whoever has the address next may relay as well",
                'set window = "30m"; open IMAP sessions hold their address by themselves',
            )
        elif window < _SHORT:
            sound = False
            yield look(
                "settings-window",
                f"{name} is {window:.0f} s, shorter than mail programs wait between two looks",
                'set window = "30m"',
            )
    if config.session_limit < config.window:
        sound = False
        yield look(
            "settings-window",
            "session_limit is shorter than window, so that open sessions hold nothing",
            'set session_limit = "4h"',
        )
    if sound:
        yield fine("settings-window", f"a login grants for {config.window / 60:.0f} min")


def _answers(config: Config) -> Iterator[Finding]:
    if config.shadow:
        yield look(
            "settings-shadow",
            "shadow is on: every lookup is answered with no",
            "set shadow = false when you have seen enough",
        )
    if _PERMITS.fullmatch(config.answer.partition(" ")[0]) is None:
        yield look(
            "settings-answer",
            f"answer is {config.answer!r}, which does not permit by itself",
            'set answer = "OK", unless a restriction class of that name does',
        )
    for where in (*config.listening(), *config.socketmap):
        if not where.startswith("unix:"):
            host = where.rpartition(":")[0].strip("[]")
            if not ipaddress.ip_address(host).is_loopback:
                yield look(
                    "settings-remote",
                    f"{where} can be asked by everybody who reaches it",
                    "let a firewall admit your Postfix hosts alone",
                )


def _witness(facts: Facts, config: Config) -> Iterator[Finding]:
    if config.witness == "off":
        yield fine("settings-witness", "the kernel is not asked (witness = off)")
        return
    how = f"witness is {config.witness}"
    ports = ", ".join(map(str, config.witness_ports))
    if facts.kernel:
        yield wrong("settings-witness", f"{how}, but {facts.kernel}", 'or set witness = "off"')
    elif facts.mail_ports is not None and not facts.mail_ports:
        effect = "refused" if config.witness == "require" else "thought to be gone"
        yield wrong(
            "settings-witness",
            f"{how}, but nobody listens on {ports} here: every client's connection is {effect}",
            'set witness = "off" where the mail server runs elsewhere or in a container, or '
            "witness_ports to its ports",
        )
    else:
        yield fine("settings-witness", f"{how}, and the mail server's ports are here")
