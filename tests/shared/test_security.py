"""Nobody on the way reads or writes grants, and no account may do more than it must."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pbs_watch.config import Config
from pbs_watch.doctor.finding import Level
from pbs_watch.errors import ConfigError, PbsWatchError, SharedError
from pbs_watch.shared import health
from pbs_watch.shared.open import engine
from pbs_watch.shared.rights import ACL
from pbs_watch.shared.sql_tables import Table
from pbs_watch.shared.tls import Tls
from pbs_watch.shared.where import Server, where
from tests import certificates
from tests.daemon import OK, command, free_port, refused
from tests.engines import Redis
from tests.hosts import PATIENT, Host

Start = Callable[..., Host]


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("a long one\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Redis]:
    """A Redis whose only user is the one that the manual describes."""
    server = Redis(
        tmp_path / "redis", "user default off", f"user pbs-watch on >{'a long one'!r} {ACL}"
    )
    server.start()
    yield server
    server.end()


# What is refused before anything is sent


@pytest.mark.parametrize(
    "url",
    ["redis://198.18.0.1", "redis://db.example.org:6379/0", "mysql://pbs@db.example.org/pbs",
     "redis+sentinel://127.0.0.1:26379,198.18.0.1/pbs", "mysql://pbs@127.0.0.1,198.18.0.1/pbs"],
)  # fmt: skip
def test_off_loopback_tls_is_required(url: str, password: Path) -> None:
    config = Config(shared=url, shared_password_file=password)
    with pytest.raises(ConfigError, match="not on this host, and without TLS"):
        where(config)


@pytest.mark.parametrize(
    "url", ["rediss://198.18.0.1", "rediss+sentinel://s.example.org/pbs", "mysql://p@db.example/d"]
)
def test_off_loopback_a_password_is_required(url: str) -> None:
    config = Config(shared=url, shared_ca_file=Path("/etc/ssl/certs/ca-certificates.crt"))
    with pytest.raises(ConfigError, match="would be asked without a password"):
        where(config)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://u:secret@localhost/0", "a password in the address is seen by everybody"),
        ("mysql://u:secret@localhost/d", "a password in the address is seen by everybody"),
        ("http://localhost", "is no engine; write redis://HOST:PORT/DB"),
        ("redis://", "is no engine"),
        ("redis://localhost:99999/0", "is no HOST:PORT"),
        ("mysql://u@localhost:99999/d", "write one like db1.example.org:3306"),
        ("mysql://u@unix:/run/mysqld/mysqld.sock/d", "hosts = unix:/run/mysqld/mysqld.sock"),
        ("redis://::1/0", "is no HOST:PORT"),
        ("mysql:", "names no file; write mysql:/etc/pbs-watch/shared.cf"),
    ],
)
def test_what_is_no_engine_is_one_line(url: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "empty.toml"
    config.touch()
    told = refused("run", "--config", config, "--map", tmp_path / "map", "--shared", url)
    assert told.startswith("--shared: ")
    assert said in told
    assert "secret" not in told.replace(url, "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost/x", "write redis://HOST:PORT/DB"),
        ("redis+sentinel://localhost", "write redis://HOST:PORT/DB"),
        ("mysql://localhost/d", "write mysql://USER@HOST/DATABASE"),
        ("mysql:/nowhere/at/all.cf", "/nowhere/at/all.cf: cannot be read"),
    ],
)
def test_what_is_incomplete_is_one_line(url: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "empty.toml"
    config.touch()
    for words in (("run", "--map", tmp_path / "map"), ("shared", "list")):
        assert said in refused(*words, "--config", config, "--shared", url)


def test_without_the_library_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ModuleNotFoundError('no redis')\n")
    config = tmp_path / "empty.toml"
    config.touch()
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pbs_watch.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c",
         program + "sys.exit(main())", str(tmp_path), "shared", "list", "--config", str(config),
         "--shared", "redis://localhost/0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "apt-get install python3-redis" in done.stderr


@pytest.mark.parametrize(
    ("lines", "place", "said"),
    [
        (['shared_layout = "authpfix"'], "2:1", "shared_layout: authpfix is a table of MySQL"),
        (['shared_ca_file = "/x"'], "2:1", "shared_ca_file: /x cannot be read (No such file"),
        (['window = "1h"', 'shared_ca_file = "CA"'], "3:1", "CA holds no certificate in PEM"),
        (['shared_cert_file = "CA"'], "2:1", "CA holds no certificate in PEM whose key"),
        (['shared_ca_file = "GOOD"'], "2:1", "redis: is without TLS and would not use it; write r"),
        (['shared_password_file = "/x"'], "2:1", "/x: cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(
    lines: list[str], place: str, said: str, tmp_path: Path
) -> None:
    """Before ``check`` says that the settings are fine, and by an exit of 2 everywhere."""
    ca, config = tmp_path / "ca.pem", tmp_path / "settings.toml"
    ca.write_text("no certificate\n")
    good = certificates.make(tmp_path / "made", "127.0.0.1").ca
    text = "\n".join(['shared = "redis://localhost"', *lines])
    config.write_text(text.replace("CA", str(ca)).replace("GOOD", str(good)))
    told = refused("check", "--config", config)
    assert told.startswith(f"{config}:{place}: ")
    assert said.replace("CA", str(ca)) in told
    for words in (("shared", "check"), ("shared", "list"), ("run", "--map", tmp_path / "map")):
        assert said.replace("CA", str(ca)) in refused(*words, "--config", config)


def test_the_cure_for_an_engine_that_is_away_is_not_said_of_bad_settings() -> None:
    away = Config(shared=f"redis://127.0.0.1:{free_port()}/0")
    assert "docs/shared.rst" in health.judge(away, writing=True)[-1].cure
    (bad,) = health.judge(replace(away, shared_layout="authpfix"), writing=True)
    assert bad.cure == ""


# Postfix's own file


def test_the_syntax_of_mysql_table_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "relay.cf"
    path.write_text(
        "# old site\n"
        "user = postfix\n"
        "password = s3cret=#1\n"
        "dbname = mail\n"
        "hosts = unix:/run/mysqld/mysqld.sock\n"
        "   inet:127.0.0.1:3307, [::1]\n"
        "table = authpfix\n"
        "select_field = logintime\n"
        "where_field = ip\n"
        "tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n"
    )
    found = where(Config(shared=f"mysql:{path}", shared_layout="authpfix"))
    assert found.servers == (
        Server("localhost", 3306, "/run/mysqld/mysqld.sock"),
        Server("127.0.0.1", 3307),
        Server("::1", 3306),
    )
    assert (found.user, found.password, found.database) == ("postfix", "s3cret=#1", "mail")
    assert found.tls == Tls("/etc/ssl/certs/ca-certificates.crt")
    assert found.table == Table("authpfix", "ip", "logintime")
    assert "s3cret" not in str(found)


def test_the_table_of_a_query_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "relay.cf"
    path.write_text(
        "user = u\ndbname = d\npassword = p\n"
        "query = SELECT 'OK' FROM popauth WHERE `address`='%s'\n  AND logintime > 5\n"
    )
    assert where(Config(shared=f"mysql:{path}")).table == Table("popauth", "address", "logintime")
    path.write_text("user = u\n")
    with pytest.raises(ConfigError, match="dbname is missing"):
        where(Config(shared=f"mysql:{path}"))
    path.write_text("user = u\ndbname = d\ntable = a; DROP TABLE b\n")
    with pytest.raises(ConfigError, match="is no name of a table"):
        where(Config(shared=f"mysql:{path}"))


def test_a_secret_that_everybody_can_read_is_told(password: Path) -> None:
    config = Config(shared=f"redis://127.0.0.1:{free_port()}/0", shared_password_file=password)
    assert not any("everybody" in one.text for one in health.judge(config, writing=True))
    password.chmod(0o644)
    found = health.judge(config, writing=True)
    assert any("everybody on this host can read" in one.text for one in found)
    assert health.bad(found)  # nobody answers there
    assert health.judge(replace(config, shared=""), writing=True)[0].level is Level.FINE
    assert health.bad(health.judge(replace(config, shared="mysql:/nowhere"), writing=True))


def test_a_password_file_holds_one_line(password: Path) -> None:
    password.write_text("one\ntwo\n")
    with pytest.raises(PbsWatchError, match="the password in one line"):
        where(Config(shared="redis://localhost/0", shared_password_file=password))


# Who sits on the way to a MySQL server


class Greets:
    """Greets as a MariaDB does, without TLS, and asks for the password in plain text.

    ``said``: what it was told then.
    """

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rb") as told:
            can = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000  # all but TLS (0x800)
            self._send(
                connection, 0,
                b"\x0a10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"12345678\0"
                + struct.pack("<HBHHB", can & 0xFFFF, 0x2D, 2, can >> 16, 21) + bytes(10)
                + b"abcdefghijkl\0mysql_native_password\0",
            )  # fmt: skip
            for answer in (b"\xfemysql_clear_password\0x\0", b""):
                head = told.read(4)
                if len(head) < 4:
                    return
                self.said.append(told.read(int.from_bytes(head[:3], "little")))
                self._send(connection, head[3] + 1, answer)

    @staticmethod
    def _send(connection: socket.socket, number: int, data: bytes) -> None:
        connection.sendall(len(data).to_bytes(3, "little") + bytes([number]) + data)

    def ended(self) -> list[bytes]:
        """What it was told, once its connection is closed."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._listening.close()
        return self.said


def test_who_strikes_out_tls_is_told_nothing(tmp_path: Path, password: Path) -> None:
    made = certificates.make(tmp_path / "tls", "127.0.0.1")
    there = Greets()
    config = Config(
        shared=f"mysql://pbs@{there.where}/pbs", shared_password_file=password,
        shared_ca_file=made.ca,
    )  # fmt: skip
    with pytest.raises(SharedError, match="the server offers no TLS"):
        engine(where(config), 1800.0).mark()
    assert there.ended() == []


def test_the_password_is_not_told_in_plain_text_without_tls(password: Path) -> None:
    there = Greets()
    config = Config(shared=f"mysql://pbs@{there.where}/pbs", shared_password_file=password)
    with pytest.raises(SharedError, match="asks for the password in plain text"):
        engine(where(config), 1800.0).mark()
    (asked,) = there.ended()
    assert b"pbs" in asked
    assert b"a long one" not in asked


# What the server lets us do


def test_the_documented_rights_are_enough(guarded: Redis, host: Start, password: Path) -> None:
    url = f"redis://pbs-watch@{guarded.where}/0"
    words = ("--shared-password-file", password, *PATIENT)
    first, second = host("a", url, *words), host("b", url, *words)
    first.is_in_step()
    first.logs_in("198.18.0.1")
    assert second.ask("198.18.0.1") == OK
    first.by_hand("allow", "198.18.5.1", "--permanent")
    first.is_in_step()
    config = Config(shared=url, shared_password_file=password)
    found = health.judge(config, writing=True)
    assert not health.bad(found), found
    first.by_hand("forget", "bob")
    first.is_in_step()
    assert first.state()["error"] == ""


def test_the_manual_has_the_rights_that_are_meant() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "shared.rst").read_text()
    assert f"ACL SETUSER pbs-watch on >PASSWORD {ACL} The" in " ".join(manual.split())


def test_a_wrong_password_is_told_as_such(guarded: Redis, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another\n")
    config = tmp_path / "empty.toml"
    config.touch()
    told = refused(
        "shared", "list", "--config", config, "--shared", f"redis://pbs-watch@{guarded.where}/0",
        "--shared-password-file", wrong,
    )  # fmt: skip
    assert "does not accept the user or the password" in told
    assert "another" not in told


def test_missing_rights_are_told_with_what_to_do(tmp_path: Path, password: Path) -> None:
    server = Redis(
        tmp_path / "redis",
        "user default off",
        f"user pbs-watch on >{'a long one'!r} {ACL.replace(' +hgetall', '')}",
    )
    server.start()
    try:
        url = f"redis://pbs-watch@{server.where}/0"
        found = health.judge(Config(shared=url, shared_password_file=password), writing=True)
    finally:
        server.end()
    assert health.bad(found)
    assert "'hgetall' command); docs/shared.rst has the line for ACL SETUSER" in found[-1].text


def test_over_tls_with_a_certificate_that_is_verified(tmp_path: Path, host: Start) -> None:
    made = certificates.make(tmp_path / "tls", "127.0.0.1")
    other = certificates.make(tmp_path / "other", "127.0.0.1")
    port = free_port()
    server = Redis(
        tmp_path / "redis", f"tls-port {port}", f"tls-cert-file {made.cert}",
        f"tls-key-file {made.key}", f"tls-ca-cert-file {made.ca}", "tls-auth-clients no",
    )  # fmt: skip
    server.start()
    try:
        url = f"rediss://127.0.0.1:{port}/0"
        one = host("a", url, "--shared-ca-file", made.ca, *PATIENT)
        one.logs_in("198.18.0.1")
        one.is_in_step()
        assert one.state()["error"] == ""
        config = Config(shared=url, shared_ca_file=other.ca)
        found = health.judge(config, writing=True)
        assert health.bad(found)
        assert "certificate" in found[-1].text
        listed = command(
            "shared", "list", "--config", "/dev/null", "--shared", url, "--shared-ca-file", made.ca
        )
        assert b"198.18.0.1" in listed.out
    finally:
        server.end()
