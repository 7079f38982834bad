"""Settings: the TOML file, the command line over it, and their defaults.

Every setting of the file can also be said on the command line, which wins.  An error names the
file, line and column, and says what to write instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zlib import crc32

from pbs_watch.errors import ConfigError, ListenError, UsageError
from pbs_watch.grants.address import Network, Networks, canonical, network
from pbs_watch.values import KINDS

if TYPE_CHECKING:
    from pbs_watch.grants.policy import Policy

DEFAULT_PATH = Path("/etc/pbs-watch/pbs-watch.toml")

DEFAULT_TCP_TABLE = "127.0.0.1:10041"

_UNFIT = (UsageError, ListenError, ConfigError)
"""What a value that does not fit its setting raises."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; durations in seconds, paths as the operator wrote them.

    ``windows``: durations by the name of a format or by ``@`` and a domain.  ``relay_limit``: how
    many lookups of a user's addresses may permit, in how many seconds; ``None``: any number.
    ``max_users_per_address``, ``max_addresses_per_user``: 0 for any number.
    ``miss_wait``: 0 for not at all.
    ``tcp_table`` is empty only where ``socketmap`` was asked for alone.  ``never`` holds networks
    and the words ``own`` and ``gateway``.  ``fold_users``: the case of ASCII letters in a user's
    name does not matter.  ``zone`` is ``None`` for the machine's.  ``metrics``: ``ADDRESS:PORT``,
    ``None`` as for ``metrics_file``: not at all.  ``shared``: the engine of grants shared by
    several hosts (:mod:`pbs_watch.shared.where`), empty for none; ``shared_host``: by which the
    others know this one, empty for the machine's name.
    """

    log: tuple[str, ...] = ("/var/log/mail.log",)
    patterns: tuple[str, ...] = ("courier",)
    patterns_dir: tuple[Path, ...] = (Path("/etc/pbs-watch/patterns"),)
    map: Path = Path("/var/lib/pbs-watch")
    tcp_table: tuple[str, ...] = ()
    socketmap: tuple[str, ...] = ()
    window: float = 1800.0
    windows: Mapping[str, float] = field(default_factory=dict)
    session_limit: float = 4 * 3600.0
    prefix: int = 128
    never: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore_users: tuple[str, ...] = ()
    fold_users: bool = True
    max_users_per_address: int = 0
    max_addresses_per_user: int = 0
    over_limit: Literal["alarm", "refuse"] = "alarm"
    relay_limit: tuple[int, float] | None = None
    over_relay_limit: Literal["trouble", "no"] = "trouble"
    witness: Literal["off", "hold", "alarm", "require"] = "off"
    witness_ports: tuple[int, ...] = (110, 143, 993, 995)
    shadow: bool = False
    hosts: tuple[str, ...] = ()
    journal_trust: tuple[str, ...] = ("_COMM=courierlogger", "_UID=0")
    zone: tzinfo | None = None
    cuts: Literal["strict", "next", "off"] = "strict"
    miss_wait: float = 0.0
    answer: str = "OK"
    trouble: Literal["tempfail", "defer"] = "tempfail"
    allow_remote: bool = False
    retention: float = 7 * 86400.0
    audit: Literal["off", "text", "json"] = "off"
    metrics: str | None = None
    metrics_file: Path | None = None
    shared: str = ""
    shared_host: str = ""
    shared_password_file: Path | None = None
    shared_ca_file: Path | None = None
    shared_cert_file: Path | None = None
    shared_key_file: Path | None = None
    shared_deadline: float = 0.05
    shared_linger: float = 0.25
    shared_trouble: Literal["trouble", "no"] = "trouble"
    shared_layout: Literal["own", "authpfix"] = "own"
    shared_table: str = ""

    def networks(self, items: Iterable[str]) -> Networks:
        """Networks, and what the words ``own`` and ``gateway`` among them mean on this host now."""
        from pbs_watch import host  # noqa: PLC0415 - only the daemon and replay need it

        words: dict[str, Callable[[], list[Network]]] = {"own": host.own, "gateway": host.gateway}
        found: list[Network] = []
        for item in items:
            # In canonical form: a mapped network is the IPv4 one that it stands for.
            found += (
                words[item]() if item in words else [network(canonical(network(item)).decode())]
            )
        return Networks(found)

    def policy(self) -> Policy:
        """What may be granted, and for how long."""
        from pbs_watch.grants.policy import Policy  # noqa: PLC0415 - as for networks()

        return Policy(
            window=self.window,
            windows=self.windows,
            session_limit=self.session_limit,
            prefix=self.prefix,
            never=self.networks(self.never),
            only=self.networks(self.only),
            hosts=frozenset(host.encode() for host in self.hosts),
            ignored=frozenset(
                self.user(user.encode("utf-8", "surrogateescape")) for user in self.ignore_users
            ),
            fold=self.fold_users,
            most_users=self.max_users_per_address,
            most_addresses=self.max_addresses_per_user,
            over_limit=self.over_limit,
            witness=self.witness,
        )

    def user(self, name: bytes) -> bytes:
        """The name by which a user is kept."""
        return name.lower() if self.fold_users else name

    @property
    def longest_window(self) -> float:
        """The longest of all windows."""
        return max([self.window, *self.windows.values()])

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
            config = replace(config, **{name: KINDS[name](value)})
        except _UNFIT as error:
            raise ConfigError(f"{written.where(name)}: {name}: {error}") from None
    for name, value in said.items():
        if value is not None:
            try:
                config = replace(config, **{name: KINDS[name](value)})
            except _UNFIT as error:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option}: {error}") from None
    return config


def place(path: Path | None, name: str) -> str:
    """Where a setting stands, as ``FILE:LINE:COLUMN: ``; empty: not in the file."""
    written = _read(path)
    return f"{written.where(name)}: " if name in written.values else ""


RESTART = ("map", "metrics", "metrics_file")
"""The settings that only a restart changes."""


def digests(config: Config) -> dict[str, str]:
    """Each setting as a few digits, by which it is told from another value of it."""
    return {
        one.name: f"{crc32(repr(getattr(config, one.name)).encode()):08x}" for one in fields(config)
    }


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
        if name not in KINDS:
            import difflib  # noqa: PLC0415

            near = difflib.get_close_matches(name.replace("-", "_"), KINDS, n=1)
            hint = f"write {near[0]}" if near else f"the settings are {', '.join(sorted(KINDS))}"
            raise ConfigError(f"{written.where(name)}: unknown setting {name}; {hint}")
    return written


assert set(KINDS) == {field.name for field in fields(Config)}  # noqa: S101 - one list, kept twice
