"""Where grants are shared, and how it is reached: out of the settings, files included.

================================================  ==================================================
``shared``                                        the engine
================================================  ==================================================
``redis://[USER@]HOST[:PORT][/DB]``               one Redis or Valkey; ``rediss:`` with TLS
``redis+sentinel://[USER@]HOST[:PORT],.../NAME[/DB]``  the master of that name, as Sentinels tell;
                                                  ``rediss+sentinel:`` with TLS
``mysql://USER@HOST[:PORT],.../DATABASE``         MariaDB or MySQL, one server or several
``mysql:FILE.cf``                                 the same, in Postfix's mysql_table(5) syntax
================================================  ==================================================

Off loopback TLS and a password are required, and the server's certificate is verified.  A password
is never part of an address: it stands in a file.  Raises :class:`~pbs_watch.errors.ConfigError`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pbs_watch.config import Config
from pbs_watch.errors import ConfigError, UsageError
from pbs_watch.shared.mysql_cf import settings, table_of
from pbs_watch.shared.sql_tables import Table

_REDIS_PORT, _SENTINEL_PORT, _MYSQL_PORT = 6379, 26379, 3306

_URL = re.compile(
    r"(?P<scheme>rediss?(?:\+sentinel)?|valkeys?(?:\+sentinel)?|mysql)://"
    r"(?:(?P<user>[^@/]*)@)?(?P<hosts>[^@/]+)(?:/(?P<path>.*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,63}")

FORMS = (
    "redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/NAME, rediss: for TLS, "
    "mysql://USER@HOST/DATABASE or mysql:FILE.cf"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server by host and port, or by the path of its unix socket."""

    host: str
    port: int
    socket: str = ""

    @property
    def local(self) -> bool:
        """Whether nobody can listen on the way to it."""
        if self.socket or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths; empty ``ca``: what the system trusts."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """``database``: a name, or Redis's number as text.  ``sentinel``: the master's name there."""

    engine: Literal["redis", "mysql"]
    servers: tuple[Server, ...]
    database: str
    user: str = ""
    password: str = ""
    sentinel: str = ""
    tls: Tls | None = None
    layout: Literal["own", "authpfix"] = "own"
    table: Table = field(default_factory=Table)

    def __str__(self) -> str:
        names = ",".join(map(str, self.servers))
        what = f"{self.engine}+sentinel" if self.sentinel else self.engine
        return f"{what}://{names}/{self.sentinel or self.database}"


def check(text: str) -> str:
    """The setting ``shared`` as written, if it can be one; raises :class:`UsageError`."""
    if text.startswith("mysql:") and not text.startswith("mysql://"):
        if len(text) == len("mysql:"):
            raise UsageError("mysql: names no file; write mysql:/etc/pbs-watch/shared.cf")
        return text
    found = _URL.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no engine; write {FORMS}")
    if found["user"] and ":" in found["user"]:
        raise UsageError(
            "a password in the address is seen by everybody (ps); put it into a file and name that "
            "with shared_password_file"
        )
    _servers(found["hosts"], _REDIS_PORT)
    return text


def where(config: Config) -> Where:
    """The engine that the settings name; reads the files that they name.

    Raises :class:`ConfigError`.
    """
    text = config.shared
    if text.startswith("mysql:") and not text.startswith("mysql://"):
        found = _of_file(Path(text.removeprefix("mysql:")), config)
    else:
        found = _of_url(text, config)
    if found.layout == "authpfix" and found.engine != "mysql":
        raise ConfigError("shared_layout: authpfix is a table of MySQL; leave it out")
    _refuse_open(found)
    return found


def _of_url(text: str, config: Config) -> Where:
    found = _URL.fullmatch(text)
    if found is None:
        raise ConfigError(f"shared: {text!r} is no engine; write {FORMS}")
    scheme = found["scheme"].replace("valkey", "redis")
    path = (found["path"] or "").split("/")
    password = _password(config.shared_password_file)
    files = _tls(config)
    if scheme == "mysql":
        if len(path) != 1 or not path[0] or not found["user"]:
            raise ConfigError(f"shared: {text!r}: write mysql://USER@HOST/DATABASE")
        return Where(
            "mysql",
            _servers(found["hosts"], _MYSQL_PORT),
            path[0],
            found["user"],
            password,
            tls=files,
            layout=config.shared_layout,
            table=_named(Table(), config.shared_table),
        )
    sentinel = scheme.endswith("+sentinel")
    name = path.pop(0) if sentinel else ""
    database = path[0] if path and path[0] else "0"
    if (sentinel and not name) or len(path) > 1 or not re.fullmatch(r"\d{1,5}", database):
        raise ConfigError(f"shared: {text!r}: write {FORMS}")
    return Where(
        "redis",
        _servers(found["hosts"], _SENTINEL_PORT if sentinel else _REDIS_PORT),
        database,
        found["user"] or "",
        password,
        name,
        tls=(files or Tls()) if scheme.startswith("rediss") else None,
        layout=config.shared_layout,
    )


def _servers(text: str, port: int) -> tuple[Server, ...]:
    servers = []
    for one in text.split(","):
        found = _HOST.fullmatch(one.strip())
        if found is None or not 0 < int(found["port"] or port) < 65536:
            raise UsageError(f"{one!r} is no HOST:PORT; write one like db1.example.org:{port}")
        servers.append(Server(found["host"].strip("[]"), int(found["port"] or port)))
    return tuple(servers)


def _tls(config: Config) -> Tls | None:
    found = Tls(*(str(path or "") for path in _tls_paths(config)))
    if found.key and not found.cert:
        raise ConfigError("shared_key_file: needs shared_cert_file; name the certificate as well")
    return found if found.ca or found.cert else None


def _tls_paths(config: Config) -> tuple[Path | None, Path | None, Path | None]:
    return config.shared_ca_file, config.shared_cert_file, config.shared_key_file


def _password(path: Path | None) -> str:
    if path is None:
        return ""
    words = _text(path, "shared_password_file").splitlines()
    if len(words) != 1 or not words[0]:
        raise ConfigError(f"{path}: is to hold the password in one line, and nothing else")
    return words[0]


def _text(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); see {setting}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save it as UTF-8") from None


def _named(table: Table, name: str) -> Table:
    return table if not name else Table(_name(name, "shared_table"), table.address, table.login)


def _name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise ConfigError(f"{what}: {text!r} is no name of a table or column; write letters and _")
    return text


# Postfix's file


def _of_file(path: Path, config: Config) -> Where:
    found = settings(_text(path, "shared"))
    for name in ("user", "dbname"):
        if not found.get(name):
            raise ConfigError(f"{path}: {name} is missing; see mysql_table(5)")
    hosts = found.get("hosts", "localhost").replace(",", " ").split()
    own = Tls(
        found.get("tls_CAfile", ""), found.get("tls_cert_file", ""), found.get("tls_key_file", "")
    )
    password = found.get("password") or _password(config.shared_password_file)
    return Where(
        "mysql",
        tuple(_postfix_server(one, path) for one in hosts),
        found["dbname"],
        found["user"],
        password,
        tls=own if own.ca or own.cert else _tls(config),
        layout=config.shared_layout,
        table=_named(_postfix_table(found, path), config.shared_table),
    )


def _postfix_server(text: str, path: Path) -> Server:
    if text.startswith("unix:"):
        return Server("localhost", _MYSQL_PORT, text.removeprefix("unix:"))
    try:
        return _servers(text.removeprefix("inet:"), _MYSQL_PORT)[0]
    except UsageError as error:
        raise ConfigError(f"{path}: hosts: {error}") from None


def _postfix_table(found: Mapping[str, str], path: Path) -> Table:
    name, address = table_of(found)
    usual = Table()
    return Table(
        _name(name or usual.name, f"{path}: table"),
        _name(address or usual.address, f"{path}: where_field"),
        usual.login,
    )


def _refuse_open(found: Where) -> None:
    """Grants let relay: nobody on the way may write them, or read who is where."""
    for server in found.servers:
        if server.local:
            continue
        if found.tls is None:
            how = (
                "write rediss: for redis:"
                if found.engine == "redis"
                else "name shared_ca_file, or tls_CAfile in the .cf file"
            )
            raise ConfigError(
                f"shared: {server} is not on this host, and without TLS whoever listens could "
                f"let anybody relay; {how}"
            )
        if not found.password:
            raise ConfigError(
                f"shared: {server} is not on this host and would be asked without a password; "
                "put one into a file and name that with shared_password_file"
            )
