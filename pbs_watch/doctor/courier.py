"""Whether Courier can be made to log forged lines.  Pure: the texts of its files come in.

The scripts that start a service read the file of the other protocol variant first (``pop3d-ssl``,
then ``pop3d``; and the other way round for the TLS service), so that the last assignment counts.
They are shell: only assignments are read here, with the variables that they name.  Rests on
facts/courier.md ("Forged lines"), couriertcpd(1) and the scripts ``pop3d`` ... ``imapd-ssl``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pbs_watch.doctor.finding import Finding, fine, look, unseen, wrong

SERVICES = {
    "pop3d": ("pop3d-ssl", "POP3DSTART", "LOGGEROPTS"),
    "pop3d-ssl": ("pop3d", "POP3DSSLSTART", "SSLLOGGEROPTS"),
    "imapd": ("imapd-ssl", "IMAPDSTART", "LOGGEROPTS"),
    "imapd-ssl": ("imapd", "IMAPDSSLSTART", "SSLLOGGEROPTS"),
}
"""For each service: the file read before its own, what starts it, and its logger's options."""

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LOGGER = "/usr/sbin/courierlogger"


@dataclass(frozen=True, slots=True)
class Facts:
    """``files``: the texts of Courier's files by their names; those that are not there are missing.
    ``hidden``: files that cannot be seen, with the reason.  ``where``: their folder.
    """

    where: str
    files: Mapping[str, str]
    hidden: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Service:
    """What one service is started with."""

    name: str
    variables: Mapping[str, str]

    @property
    def starts(self) -> bool:
        """Whether it is started at all: anything but YES means no (its init script)."""
        return self.variables.get(SERVICES[self.name][1], "YES").upper().startswith("Y")

    @property
    def tag(self) -> str:
        """The tag under which its lines are logged."""
        if self.cured and (name := self._option("TCPDOPTS", "stderrloggername")):
            return name
        return self._option(SERVICES[self.name][2], "name") or "courierlogger"

    @property
    def cured(self) -> bool:
        """Whether its logger truncates long lines instead of cutting them in two."""
        return bool(self._option("TCPDOPTS", "stderrlogger"))

    def _option(self, variable: str, name: str) -> str:
        found = ""
        for word in self.variables.get(variable, "").split():
            if word.startswith(f"-{name}="):
                found = word.partition("=")[2].strip("'\"")
        return found


def assignments(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """The variables after a file of shell assignments was read; ``known``: those before."""
    found = dict(known)
    for line in _joined(text).splitlines():
        match = _ASSIGNMENT.match(line.strip())
        if match is None:
            continue
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError:
            continue  # a quotation that goes on: not one of ours
        value = words[0] if words else ""
        if not match[2].lstrip().startswith("'"):
            value = _VARIABLE.sub(lambda name: found.get(name[1] or name[2], ""), value)
        found[match[1]] = value
    return found


def _joined(text: str) -> str:
    r"""Lines that a backslash, or a quotation mark still open, continues made one."""
    text = text.replace("\\\n", " ")
    lines: list[str] = []
    for line in text.splitlines():
        if lines and not lines[-1].lstrip().startswith("#") and lines[-1].count('"') % 2:
            lines[-1] += " " + line
        else:
            lines.append(line)
    return "\n".join(lines)


def services(files: Mapping[str, str]) -> list[Service]:
    """The services whose files there are."""
    found = []
    for name, (before, _, _) in SERVICES.items():
        if name in files:
            variables = assignments(files.get(before, ""), {})
            found.append(Service(name, assignments(files[name], variables)))
    return found


def judge(facts: Facts, cuts: str, tags: Iterable[str]) -> Iterator[Finding]:
    """``cuts``: the setting.  ``tags``: those that the patterns read."""
    for name, why in facts.hidden.items():
        yield unseen("courier-cure", f"{facts.where}/{name} cannot be seen: {why}", "ask as root")
    found = [one for one in services(facts.files) if one.starts]
    if not found:
        if not facts.hidden:
            yield unseen(
                "courier-cure",
                f"there is no Courier below {facts.where}",
                "run doctor on its host, or name its folder with --courier-config",
            )
        return
    yield from _cure(facts.where, found, cuts)
    yield from _tags(found, frozenset(tags))
    yield from _identification(facts)
    yield from _debugging(facts)


def _cure(where: str, found: list[Service], cuts: str) -> Iterator[Finding]:
    for one in (bare := [one for one in found if not one.cured]):
        text = f"{one.name} logs through a logger that cuts long lines"
        options = " ".join(
            (
                one.variables.get("TCPDOPTS", ""),
                f"-stderrlogger={_LOGGER}",
                f"-stderrloggername={one.name}",
            )
        ).strip()
        cure = f'write in {where}/{one.name}: TCPDOPTS="{options}", and restart courier'
        if cuts == "off":
            yield wrong(
                "courier-cure",
                f'{text}, and cuts = "off": anybody can be granted',
                f'{cure}; until then set cuts = "strict"',
            )
        else:
            yield look(
                "courier-cure",
                f"{text}: who sends such lines keeps genuine users from being granted for a moment",
                cure,
            )
    if not bare:
        names = ", ".join(one.name for one in found)
        yield fine("courier-cure", f"{names} truncate long lines")


def _tags(found: list[Service], tags: frozenset[str]) -> Iterator[Finding]:
    if not tags:
        return
    strange = [one for one in found if one.tag not in tags]
    for one in strange:
        option = (
            "-stderrloggername in TCPDOPTS" if one.cured else f"-name in {SERVICES[one.name][2]}"
        )
        yield wrong(
            "courier-tags",
            f"{one.name} logs under the tag {one.tag!r}, which no pattern reads",
            f"name it {one.name} ({option}), or add the tag to a pattern of your own",
        )
    if not strange:
        yield fine(
            "courier-tags",
            f"the patterns read the tags {', '.join(dict.fromkeys(one.tag for one in found))}",
        )


def _identification(facts: Facts) -> Iterator[Finding]:
    """IMAP ID lines hold what the client says, newlines included: set to 0 they are logged too."""
    wanted = {
        name: variables["IMAP_ID_FIELDS"]
        for name in ("imapd", "imapd-ssl")
        if name in facts.files
        and "IMAP_ID_FIELDS" in (variables := assignments(facts.files[name], {}))
    }
    for name, value in wanted.items():
        yield wrong(
            "courier-id",
            f"IMAP_ID_FIELDS={value} in {facts.where}/{name}: every account holder can write any "
            "line into the log",
            f"put a # before IMAP_ID_FIELDS in {facts.where}/{name}, and restart courier-imap",
        )
    if not wanted and "imapd" in facts.files:
        yield fine("courier-id", "IMAP_ID_FIELDS is not set")


def _debugging(facts: Facts) -> Iterator[Finding]:
    value = assignments(facts.files.get("authdaemonrc", ""), {}).get("DEBUG_LOGIN", "0")
    if value not in {"", "0"}:
        yield look(
            "courier-debug",
            f"DEBUG_LOGIN={value} in {facts.where}/authdaemonrc writes more of what clients say "
            f"into the log{', passwords too' if value == '2' else ''}",
            "set DEBUG_LOGIN=0 when you have seen what you wanted to see",
        )
