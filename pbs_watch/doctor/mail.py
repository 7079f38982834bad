"""Gathering what Postfix says of itself, through postconf and postmap.  Changes nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pbs_watch.doctor.look import Ran, run
from pbs_watch.doctor.places import Places
from pbs_watch.doctor.restrictions import Table
from pbs_watch.doctor.services import Facts, Service

_FIELDS = 8
"""Columns of master.cf."""


def facts(places: Places) -> Facts:
    """Postfix's parameters, services and kinds of tables."""
    where = places.postfix or places.below("/etc/postfix")
    if not where.exists():
        return Facts(installed=False)
    told = {}
    for letter in ("x", "M", "Px"):
        ran = told[letter] = _postconf(where, f"-{letter}")
        if ran.status != 0:
            return Facts(why=ran.why or _first_line(ran.err))
    types = _postconf(where, "-m")
    main = _parameters(told["x"].out)
    said = _overrides(told["Px"].out)
    return Facts(
        main,
        tuple(_services(told["M"].out, said, _jailed(main))),
        frozenset(types.out.split()) if types.status == 0 else frozenset(),
        warnings=tuple(dict.fromkeys(told["x"].err.splitlines() + told["M"].err.splitlines())),
    )


def _postconf(where: Path, option: str) -> Ran:
    return run(["postconf", "-c", str(where), option])


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _parameters(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition(" =")
        if equals:
            found[name] = value.strip()
    return found


def _overrides(text: str) -> dict[str, dict[str, str]]:
    """``submission/inet/NAME = VALUE`` as values by service and name."""
    found: dict[str, dict[str, str]] = {}
    for key, value in _parameters(text).items():
        service, _, name = key.rpartition("/")
        found.setdefault(service, {})[name] = value
    return found


def _jailed(main: dict[str, str]) -> bool:
    """What ``-`` means for chroot: since compatibility level 1 it is "no" (master(5))."""
    level = re.match(r"\d+", main.get("compatibility_level", "0"))
    return level is None or int(level[0]) < 1


def _services(
    text: str,
    said: dict[str, dict[str, str]],
    jailed: bool,  # noqa: FBT001
) -> Iterable[Service]:
    for line in text.splitlines():
        fields = line.split(None, _FIELDS)
        if len(fields) < _FIELDS:
            continue
        name, kind, chroot, command = fields[0], fields[1], fields[4], fields[7]
        inside = jailed if chroot == "-" else chroot == "y"
        yield Service(
            name, kind, command.rpartition("/")[2], inside, said.get(f"{name}/{kind}", {})
        )


def looked_up(places: Places, table: Table, key: str) -> tuple[str, str]:
    """What ``postmap -q`` says of a key: ``found``, ``absent``, ``trouble`` or ``unseen``; and why.

    Exit code 1 means "not found" or an error, which is told by ``fatal:`` (facts/postfix.md, "Tools
    for tests"); warnings are about main.cf.
    """
    where = places.postfix or places.below("/etc/postfix")
    if shutil.which("postmap") is None and not Path("/usr/sbin/postmap").exists():
        return "unseen", "postmap is not installed"
    name = table.text.removeprefix("proxy:")
    ran = run(["postmap", "-c", str(where), "-q", key, name])
    if ran.status is None:
        return "unseen", ran.why
    fatal = [line for line in ran.err.splitlines() if " warning: " not in line]
    if fatal or ran.status not in {0, 1}:
        return "trouble", _first_line("\n".join(fatal) or ran.err)
    return ("found", ran.out.strip()) if ran.status == 0 else ("absent", "")
