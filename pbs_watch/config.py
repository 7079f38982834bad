"""Settings: the TOML file, the command line over it, and their defaults.

Every setting of the file can also be said on the command line, which wins.  An error names the
file, line and column, and says what to write instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pbs_watch.durations import seconds
from pbs_watch.errors import ConfigError, ListenError, UsageError
from pbs_watch.grants.address import Network, Networks, network

if TYPE_CHECKING:
    from pbs_watch.grants.judge import Policy

DEFAULT_PATH = Path("/etc/pbs-watch/pbs-watch.toml")

DEFAULT_TCP_TABLE = "127.0.0.1:10041"

_UNFIT = (UsageError, ListenError, ConfigError)
"""What a value that does not fit its setting raises."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; durations in seconds, paths as the operator wrote them.

    ``tcp_table`` is empty only where ``socketmap`` was asked for alone.  ``never`` holds networks
    and the words ``own`` and ``gateway``.  ``zone`` is ``None`` for the machine's.
    """

    log: tuple[str, ...] = ("/var/log/mail.log",)
    patterns: tuple[str, ...] = ("courier",)
    patterns_dir: tuple[Path, ...] = (Path("/etc/pbs-watch/patterns"),)
    map: Path = Path("/var/lib/pbs-watch")
    tcp_table: tuple[str, ...] = ()
    socketmap: tuple[str, ...] = ()
    window: float = 1800.0
    session_limit: float = 4 * 3600.0
    never: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    journal_trust: tuple[str, ...] = ("_COMM=courierlogger", "_UID=0")
    zone: tzinfo | None = None
    cuts: Literal["strict", "next", "off"] = "strict"
    answer: str = "OK"
    trouble: Literal["tempfail", "defer"] = "tempfail"
    allow_remote: bool = False

    def never_networks(self) -> Networks:
        """The networks of ``never``, with what its words mean on this host now."""
        from pbs_watch import host  # noqa: PLC0415 - only the daemon and replay need it

        words: dict[str, Callable[[], list[Network]]] = {"own": host.own, "gateway": host.gateway}
        found: list[Network] = []
        for item in self.never:
            found += words[item]() if item in words else [network(item)]
        return Networks(found)

    def policy(self) -> Policy:
        """What may be granted, and for how long."""
        from pbs_watch.grants.judge import Policy  # noqa: PLC0415 - as for never_networks()

        return Policy(
            window=self.window,
            session_limit=self.session_limit,
            never=self.never_networks(),
            hosts=frozenset(host.encode() for host in self.hosts),
        )

    def listening(self) -> tuple[str, ...]:
        """The tcp_table addresses to listen on."""
        return self.tcp_table or (() if self.socketmap else (DEFAULT_TCP_TABLE,))


def load(path: Path | None, said: Mapping[str, object]) -> Config:
    """The settings of ``path`` with ``said``, what the command line says, over them.

    ``path`` ``None`` stands for :data:`DEFAULT_PATH`, which may be absent.  ``said`` has the
    settings by their names in the file, values of the same kinds; ``None`` says nothing.
    Raises :class:`ConfigError` or :class:`UsageError`.
    """
    written = _read(path)
    config = Config()
    for name, value in written.values.items():
        try:
            config = replace(config, **{name: _setting(name, value)})
        except _UNFIT as error:
            raise ConfigError(f"{written.where(name)}: {name}: {error}") from None
    for name, value in said.items():
        if value is not None:
            try:
                config = replace(config, **{name: _setting(name, value)})
            except _UNFIT as error:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option}: {error}") from None
    return config


@dataclass(frozen=True, slots=True)
class _Written:
    """A file's settings and its text, to find a setting's place again."""

    path: Path | None
    text: str
    values: dict[str, object]

    def where(self, name: str) -> str:
        found = re.search(rf"(?m)^[ \t]*\[*[ \t]*[\"']?({re.escape(name)})\b", self.text)
        before = self.text[: found.start(1)] if found else ""
        column = len(before) - (before.rfind("\n") + 1) + 1
        return f"{self.path}:{before.count(chr(10)) + 1}:{column}"


class _NotTomlError(Exception):
    """``LINE:COLUMN: what is wrong; what to write instead``."""


def _parse(text: str) -> dict[str, object]:
    if not text.strip():
        return {}
    import tomllib  # noqa: PLC0415 - 8 ms, where `get` is to take less than 100

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _NotTomlError("1:1: nested too deeply; the settings are plain values") from None
    except tomllib.TOMLDecodeError as error:
        # Its text ends in a place: (at line 3, column 9).
        found = re.search(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        what = found[1] if found else str(error)
        place = f"{found[2]}:{found[3]}" if found and found[2] else f"{text.count(chr(10)) + 1}:1"
        raise _NotTomlError(
            f'{place}: not TOML ({what}); write settings like window = "30m"'
        ) from None


def _read(path: Path | None) -> _Written:
    if path is None:
        if not os.access(DEFAULT_PATH, os.F_OK):
            return _Written(None, "", {})
        path = DEFAULT_PATH
    try:
        text = path.read_text(encoding="utf-8")
        values = _parse(text)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); look at what --config names"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{path}:{line}:{column}: not UTF-8; save the file as UTF-8") from None
    except _NotTomlError as error:
        raise ConfigError(f"{path}:{error}") from None
    written = _Written(path, text, values)
    for name in values:
        if name not in _KINDS:
            import difflib  # noqa: PLC0415

            near = difflib.get_close_matches(name.replace("-", "_"), _KINDS, n=1)
            hint = f"write {near[0]}" if near else f"the settings are {', '.join(sorted(_KINDS))}"
            raise ConfigError(f"{written.where(name)}: unknown setting {name}; {hint}")
    return written


def _setting(name: str, value: object) -> Any:
    return _KINDS[name](value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is not a text; write it in quotes")
    if not value.strip():
        raise UsageError("an empty text; write something, or leave the setting out")
    if _CONTROL.search(value):
        raise UsageError(f"{value!r} holds a control character; leave it out")
    return value


def _utf8(value: object) -> str:
    """A text that goes on the wire or is compared with bytes; paths need not be UTF-8."""
    text = _text(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8; write it in UTF-8") from None
    return text


def _answer(value: object) -> str:
    from pbs_watch.answer.wire import Answers  # noqa: PLC0415 - as the next: for `get` too

    text = _utf8(value)
    Answers(text)
    return text


def _hosts(value: object) -> tuple[str, ...]:
    return tuple(_utf8(item) for item in _cleared(value))


def _cleared(value: object) -> tuple[str, ...]:
    """A list of texts, which the word ``none`` clears: so the command line can do it too."""
    found = _texts(value)
    return () if found == ("none",) else found


def _tcp_tables(value: object) -> tuple[str, ...]:
    from pbs_watch.answer import listen  # noqa: PLC0415

    found = _texts(value)
    for where in found:
        listen.parse_tcp(where)
    return found


def _socketmaps(value: object) -> tuple[str, ...]:
    from pbs_watch.answer import listen  # noqa: PLC0415

    found = _cleared(value)
    for where in found:
        listen.parse(where)
    return found


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value),)
    if not isinstance(value, list | tuple):
        raise UsageError(f'{value!r} is not a list of texts; write ["...", "..."]')
    return tuple(_text(item) for item in value)


def _some(value: object) -> tuple[str, ...]:
    found = _texts(value)
    if not found:
        raise UsageError("an empty list; name at least one, or leave the setting out")
    return found


def _path(value: object) -> Path:
    return Path(_utf8(value))  # LMDB takes no other


def _paths(value: object) -> tuple[Path, ...]:
    return tuple(map(Path, _texts(value)))


def _duration(value: object) -> float:
    length = seconds(_text(value))
    if length <= 0:
        raise UsageError("a duration of nothing; write one like 30m")
    return length


def _never(value: object) -> tuple[str, ...]:
    found: list[str] = []
    for text in _texts(value):
        found += [item.strip() for item in text.split(",") if item.strip()]
    if found == ["none"]:
        return ()
    for item in found:
        if item not in {"own", "gateway"}:
            try:
                network(item)
            except UsageError as error:
                raise UsageError(f"{error}, or the words own, gateway, none") from None
    return tuple(found)


def _zone(value: object) -> tzinfo | None:
    name = _text(value)
    if name == "local":
        return None
    found = re.fullmatch(r"([+-])(\d\d):(\d\d)", name)
    if found:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset < timedelta(days=1):
            return timezone(offset if found[1] == "+" else -offset)
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - rarely needed, slow to import

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # a folder's name, no such file, no such zone
        raise UsageError(
            f"unknown zone {name!r}; write local, UTC, +02:00 or a name like Europe/Berlin"
        ) from None


def _choice(*words: str) -> Callable[[object], str]:
    def choose(value: object) -> str:
        if value not in words:
            raise UsageError(f"{value!r} is none of {', '.join(words)}")
        return str(value)

    return choose


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{value!r} is not true or false")
    return value


_KINDS: dict[str, Callable[[object], Any]] = {
    "log": _some,
    "patterns": _some,
    "patterns_dir": _paths,
    "map": _path,
    "tcp_table": _tcp_tables,
    "socketmap": _socketmaps,
    "window": _duration,
    "session_limit": _duration,
    "never": _never,
    "hosts": _hosts,
    "journal_trust": _cleared,
    "zone": _zone,
    "cuts": _choice("strict", "next", "off"),
    "answer": _answer,
    "trouble": _choice("tempfail", "defer"),
    "allow_remote": _flag,
}
assert set(_KINDS) == {field.name for field in fields(Config)}  # noqa: S101 - one list, kept twice
