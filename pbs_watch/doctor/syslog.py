"""What the syslog daemon does with mail's lines, read from its configuration.  Pure.

Of rsyslog the modules, inputs and rules that bear on the followed file, in the old form and the
new; of syslog-ng its sources.  A rule that is written otherwise is not judged.  Rests on
rsyslog.conf(5), syslog-ng.conf(5) and facts/courier.md ("Forged lines").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pbs_watch.doctor.finding import Finding, fine, look, unseen, wrong

PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_OTHER_NAMES = {"panic": "emerg", "error": "err", "warn": "warning"}
_ALL = frozenset(PRIORITIES)

_LOCAL = re.compile(r"127\.|::1$|localhost$")


@dataclass(frozen=True, slots=True)
class Facts:
    """``files``: the texts of rsyslog's or syslog-ng's configuration by their paths, the included
    ones too.  ``hidden``: those that cannot be seen.  ``kind``: whose they are.
    """

    kind: str
    files: Mapping[str, str]
    hidden: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listener:
    """How messages of other hosts come in; ``address``: empty for all of this host's."""

    protocol: str
    address: str
    ruleset: str
    path: str

    @property
    def local(self) -> bool:
        """Whether only this host can reach it."""
        return _LOCAL.match(self.address) is not None


def judge(facts: Facts, logs: tuple[str, ...]) -> Iterator[Finding]:
    """``logs``: the followed files."""
    for path, why in facts.hidden.items():
        yield unseen("syslog-remote", f"{path} cannot be seen: {why}", "ask as root")
    if not facts.files:
        return
    ng = facts.kind == "syslog-ng"
    texts = {path: _bare(text, ng=ng) for path, text in facts.files.items()}
    yield from _remote(facts, texts)
    if not ng:
        for log in logs:
            yield from _journal(log, texts)
            yield from _split(log, texts)


def _bare(text: str, *, ng: bool) -> str:
    """The text without comments, with what a backslash or a parenthesis continues on one line."""
    kept: list[str] = []
    depth = 0
    for line in text.replace("\\\n", " ").splitlines():
        code = re.sub(r"(^|\s)#.*", "", line)
        if depth > 0 and kept:
            kept[-1] += " " + code.strip()
        else:
            kept.append(code.strip())
        if not ng:
            depth = max(depth + code.count("(") - code.count(")"), 0)
    return "\n".join(kept)


# Other hosts


def _remote(facts: Facts, texts: Mapping[str, str]) -> Iterator[Finding]:
    find = _of_syslog_ng if facts.kind == "syslog-ng" else _of_rsyslog
    found = [one for path, text in texts.items() for one in find(path, text) if not one.local]
    for one in found:
        where = f"{one.path}: syslog over {one.protocol} is accepted"
        if one.ruleset:
            yield look(
                "syslog-remote",
                f"{where} for the ruleset {one.ruleset}",
                "see that this ruleset does not write into the followed log",
            )
        elif one.protocol == "UDP":
            yield wrong(
                "syslog-remote",
                f"{where}: whoever can send a packet to this host can write logins",
                f"take it out there, or bind it to 127.0.0.1, and restart {facts.kind}",
            )
        else:
            yield look(
                "syslog-remote",
                f"{where}: whoever may connect can write logins",
                "let a firewall or TLS with certificates admit your own hosts alone",
            )
    if not found and not facts.hidden:
        yield fine("syslog-remote", f"{facts.kind} accepts no messages of other hosts")


def _of_rsyslog(path: str, text: str) -> Iterator[Listener]:
    for said in re.findall(r"(?i)\binput\s*\(([^)]*)\)", text):
        kind = _option(said, "type").lower()
        if kind not in {"imudp", "imtcp", "imptcp", "imrelp"}:
            continue
        protocol = "UDP" if kind == "imudp" else "TCP"
        yield Listener(protocol, _option(said, "address"), _option(said, "ruleset"), path)
    bound = re.search(r"(?im)^\$UDPServerAddress\s+(\S+)", text)
    ruleset = re.search(r"(?im)^\$Input(?:UDP|TCP)ServerBindRuleset\s+(\S+)", text)
    for protocol, directive in (("UDP", "UDPServerRun"), ("TCP", "InputTCPServerRun")):
        if re.search(rf"(?im)^\${directive}\s+\d", text):
            address = bound[1] if bound and protocol == "UDP" else ""
            yield Listener(protocol, address, ruleset[1] if ruleset else "", path)


def _option(said: str, name: str) -> str:
    found = re.search(rf"(?i)\b{name}=\"([^\"]*)\"", said)
    return found[1] if found else ""


def _of_syslog_ng(path: str, text: str) -> Iterator[Listener]:
    # In sources only: the same words in a destination send.
    for source in re.findall(r"(?s)\bsource\s+[\w.-]+\s*\{(.*?)\}\s*;", text):
        for name, said in re.findall(
            r"\b(udp6?|tcp6?|network|syslog|default-network-drivers)\s*\(((?:[^()]|\([^()]*\))*)\)",
            source,
        ):
            transport = re.search(r"transport\s*\(\s*\"?(\w+)", said)
            kind = transport[1] if transport else name
            address = re.search(r"\b(?:ip|localip)\s*\(\s*\"?([^\s\")]+)", said)
            protocol = "UDP" if kind.startswith(("udp", "default")) else "TCP"
            yield Listener(protocol, address[1] if address else "", "", path)


# The journal


def _journal(log: str, texts: Mapping[str, str]) -> Iterator[Finding]:
    for path, text in texts.items():
        if re.search(r"(?im)^\$ModLoad\s+imjournal|\bload=\"imjournal\"", text):
            yield wrong(
                "log-imjournal",
                f"{path}: rsyslog reads the journal, which strips the spaces by which cut lines "
                f"are known; {log} is no safe source",
                'follow the journal itself: log = ["journal:"]',
            )
            return
    yield fine("log-imjournal", f"{log} is not written out of the journal")


# Priorities


def selected(selector: str) -> frozenset[str]:
    """The priorities of the facility mail that a selector lets pass (rsyslog.conf(5))."""
    found: set[str] = set()
    for part in selector.split(";"):
        facilities, _, priority = part.strip().rpartition(".")
        names = {name.strip().lower() for name in facilities.split(",")}
        if not names & {"*", "mail"}:
            continue
        word = priority.strip().lower()
        negated, word = word.startswith("!"), word.removeprefix("!")
        exact, word = word.startswith("="), word.removeprefix("=")
        word = _OTHER_NAMES.get(word, word)
        if word == "none":
            chosen, negated = _ALL, True
        elif word == "*":
            chosen = _ALL
        elif word in PRIORITIES:
            last = PRIORITIES.index(word) + 1
            chosen = frozenset({word} if exact else PRIORITIES[:last])
        else:
            continue
        found = found - chosen if negated else found | chosen
    return frozenset(found)


_RULE = re.compile(r"(?m)^([\w*,]+\.[!=\w*]+(?:;[\w*,]+\.[!=\w*]+)*)[ \t]+(\S.*)$")


def _split(log: str, texts: Mapping[str, str]) -> Iterator[Finding]:
    """Whether all priorities of mail's lines are in the one file that is followed."""
    found: set[str] = set()
    written = mentioned = False
    where = ""
    for path, text in texts.items():
        mentioned = mentioned or log in text
        for selector, action in _RULE.findall(text):
            if _writes(action, log):
                found |= selected(selector)
                written, where = True, path
    if not written:
        if mentioned:
            yield unseen("syslog-split", f"{log} is written by a rule that doctor cannot read")
        else:
            yield look(
                "syslog-split",
                f"no rule of rsyslog writes {log}",
                f"add to /etc/rsyslog.conf: mail.* -{log}",
            )
        return
    missing = [one for one in PRIORITIES if one not in found]
    cure = f"write in {where}: mail.* -{log}"
    if "info" in missing:
        yield wrong("syslog-split", f"{where}: logins (priority info) do not go to {log}", cure)
    elif set(missing) - {"debug"}:
        yield wrong(
            "syslog-split",
            f"{where}: {', '.join(missing)} of mail go elsewhere than {log}: a piece of a cut line "
            "may be among them, and is not seen",
            cure,
        )
    elif missing:
        yield look(
            "syslog-split",
            f"{where}: debug of mail is left out of {log}, where a piece of a cut line may be",
            cure,
        )
    else:
        yield fine("syslog-split", f"all priorities of mail go to {log}")


def _writes(action: str, log: str) -> bool:
    """Whether a rule's action writes the log."""
    if "omfile" in action:
        return _option(action, "file") == log
    return re.split(r"[;\s]", action.strip().removeprefix("-"), maxsplit=1)[0] == log
