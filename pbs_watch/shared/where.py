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
is never part of an address: it stands in a file.  Raises :class:`~pbs_watch.errors.ConfigError`,
which names the setting.
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
from pbs_watch.shared.tls import OF_POSTFIX, Tls, first_named, loaded, of_settings

_REDIS_PORT, _SENTINEL_PORT, _MYSQL_PORT = 6379, 26379, 3306

_URL = re.compile(
    r"(?P<scheme>rediss?(?:\+sentinel)?|valkeys?(?:\+sentinel)?|mysql)://"
    r"(?:(?P<user>[^@/]*)@)?(?P<hosts>[^@/]+)(?:/(?P<path>.*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,63}")

_UNIX = (
    "a unix socket stands in a file: write mysql:/etc/pbs-watch/shared.cf, and there "
    "hosts = unix:/run/mysqld/mysqld.sock"
)
_NO_UNIX = "Redis is reached by HOST:PORT here, and not by a unix socket; write one"

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


def file_of(text: str) -> str | None:
    """The file that ``mysql:FILE.cf`` names; ``None``: it is no such setting."""
    if text.startswith("mysql:") and not text.startswith("mysql://"):
        return text.removeprefix("mysql:")
    return None


def check(text: str) -> str:
    """The setting ``shared`` as written, if it can be one; raises :class:`UsageError`."""
    if (path := file_of(text)) is not None:
        if not path:
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
    _servers(found["hosts"], _usual_port(found["scheme"]))
    return text


def _usual_port(scheme: str) -> int:
    if scheme == "mysql":
        return _MYSQL_PORT
    return _SENTINEL_PORT if scheme.endswith("+sentinel") else _REDIS_PORT


def where(config: Config) -> Where:
    """The engine that the settings name; reads the files that they name.

    Raises :class:`ConfigError`.
    """
    text = config.shared
    path = file_of(text)
    found = _of_url(text, config) if path is None else _of_file(Path(path), config)
    if found.layout == "authpfix" and found.engine != "mysql":
        raise ConfigError(
            "shared_layout: authpfix is a table of MySQL; leave it out", "shared_layout"
        )
    _refuse_open(found)
    return found


def _of_url(text: str, config: Config) -> Where:
    found = _URL.fullmatch(text)
    if found is None:
        raise ConfigError(f"shared: {text!r} is no engine; write {FORMS}", "shared")
    scheme = found["scheme"].replace("valkey", "redis")
    path = (found["path"] or "").split("/")
    password = _password(config.shared_password_file)
    files = of_settings(config)
    servers = _servers(found["hosts"], _usual_port(scheme))
    if scheme == "mysql":
        if len(path) != 1 or not path[0] or not found["user"]:
            raise ConfigError(f"shared: {text!r}: write mysql://USER@HOST/DATABASE", "shared")
        return Where(
            "mysql",
            servers,
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
        raise ConfigError(f"shared: {text!r}: write {FORMS}", "shared")
    if files is not None and not scheme.startswith("rediss"):
        named = first_named(config)
        raise ConfigError(
            f"{named}: {found['scheme']}: is without TLS and would not use it; write "
            f"{found['scheme'].replace('+', 's+') if sentinel else found['scheme'] + 's'}:, or "
            "leave it out",
            named,
        )
    return Where(
        "redis",
        servers,
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
        if one.strip().startswith("unix:"):
            raise UsageError(_UNIX if port == _MYSQL_PORT else _NO_UNIX)
        found = _HOST.fullmatch(one.strip())
        if found is None or not 0 < int(found["port"] or port) < 65536:
            raise UsageError(f"{one!r} is no HOST:PORT; write one like db1.example.org:{port}")
        servers.append(Server(found["host"].strip("[]"), int(found["port"] or port)))
    return tuple(servers)


def _password(path: Path | None) -> str:
    if path is None:
        return ""
    words = _text(path, "shared_password_file").splitlines()
    if len(words) != 1 or not words[0]:
        raise ConfigError(
            f"{path}: is to hold the password in one line, and nothing else",
            "shared_password_file",
        )
    return words[0]


def _text(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); see {setting}", setting
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save it as UTF-8", setting) from None


def _named(table: Table, name: str) -> Table:
    return table if not name else Table(_name(name, "shared_table"), table.address, table.login)


def _name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{what}: {text!r} is no name of a table or column; write letters and _", what
        )
    return text


# Postfix's file


def _of_file(path: Path, config: Config) -> Where:
    found = settings(_text(path, "shared"))
    for name in ("user", "dbname"):
        if not found.get(name):
            raise ConfigError(f"{path}: {name} is missing; see mysql_table(5)", "shared")
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
        tls=loaded(own, OF_POSTFIX) if own.ca or own.cert else of_settings(config),
        layout=config.shared_layout,
        table=_named(_postfix_table(found, path), config.shared_table),
    )


def _postfix_server(text: str, path: Path) -> Server:
    if text.startswith("unix:"):
        return Server("localhost", _MYSQL_PORT, text.removeprefix("unix:"))
    try:
        return _servers(text.removeprefix("inet:"), _MYSQL_PORT)[0]
    except UsageError as error:
        raise ConfigError(f"{path}: hosts: {error}", "shared") from None


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
                f"let anybody relay; {how}",
                "shared",
            )
        if not found.password:
            raise ConfigError(
                f"shared: {server} is not on this host and would be asked without a password; "
                "put one into a file and name that with shared_password_file",
                "shared",
            )
