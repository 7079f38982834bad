"""MariaDB: its tables, failover to another server, and sites that have authpfix's table."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pbs_watch.config import Config
from pbs_watch.errors import SharedError
from pbs_watch.grants.orders import Bar
from pbs_watch.grants.records import record_of
from pbs_watch.shared.open import engine
from pbs_watch.shared.where import where
from tests import certificates
from tests.cluster.conftest import PASSWORD, Engine, one_mariadb
from tests.daemon import NO, OK, command, refused, until
from tests.engines import Mariadb
from tests.hosts import PATIENT, Host, listed

Start = Callable[..., Host]

POSTFIX_SHARE = Path("/etc/postfix")
"""Which tables Debian's Postfix can load, and from where."""


@pytest.fixture
def mariadb(tmp_path: Path, password: Path) -> Iterator[Engine]:
    engine = one_mariadb(tmp_path, password)
    yield engine
    engine.end()


def server(engine: Engine) -> Mariadb:
    found = engine.servers[0]
    assert isinstance(found, Mariadb)
    return found


def test_init_may_be_repeated_and_check_says_what_is_there(mariadb: Engine) -> None:
    mariadb.init()
    words = ("--config", "/dev/null", "--shared", mariadb.url, *mariadb.words)
    checked = command("shared", "check", *words)
    assert checked.status == 0, checked
    assert any("one server only is named" in line for line in checked.lines)
    server(mariadb).run("DROP TABLE pbs_watch_orders", database="pbs")
    checked = command("shared", "check", *words)
    assert checked.status == 1
    assert "run pbs-watch shared init" in checked.lines[-1]


def test_a_column_that_is_too_narrow_is_refused_with_the_alter(
    mariadb: Engine, host: Start
) -> None:
    database = server(mariadb)
    database.run("ALTER TABLE pbs_watch_grants MODIFY address CHAR(12) NOT NULL", database="pbs")
    words = ("--config", "/dev/null", "--shared", mariadb.url, *mariadb.words)
    told = refused("shared", "init", *words)
    assert "pbs_watch_grants.address holds 12 bytes, and 49 are needed: ALTER TABLE " in told
    one = host("a", mariadb)
    until(lambda: "ALTER TABLE" in one.daemon.said, "the daemon says it too")
    one.logs_in("198.18.0.1")
    assert one.ask("198.18.0.1") == OK  # and goes on alone
    database.run(told.partition("are needed: ")[2], database="pbs")
    until(lambda: "198.18.0.1" in listed(mariadb.url, *mariadb.words), "it is mended")


def test_expiry_is_one_indexed_delete(mariadb: Engine) -> None:
    database = server(mariadb)
    now = int(time.time() * 1e6)
    rows = ", ".join(
        f"('198.18.{n // 256}.{n % 256}', 'bob', 'pop3d', 1, {1 if n < 20 else now + 10**9})"
        for n in range(5000)
    )
    database.run(f"INSERT INTO pbs_watch_grants VALUES {rows}", database="pbs")
    (plan,) = database.run(
        f"EXPLAIN DELETE FROM pbs_watch_grants WHERE expires < {now} LIMIT 10000", database="pbs"
    )
    assert plan[5] == "expires"  # the key that is used, of those that could be
    config = Config(shared=mariadb.url, shared_password_file=Path(str(mariadb.words[1])))
    with closing(engine(where(config), 1800.0)) as opened:
        assert opened.expire(time.time()) == 20
        assert sum(1 for _ in opened.all(time.time())) == 4980


def test_postfix_can_read_our_table_too(mariadb: Engine, host: Start, tmp_path: Path) -> None:
    one = host("a", mariadb)
    one.is_in_step()
    one.logs_in("198.18.0.1", "2001:db8::1")
    one.is_in_step()
    database = server(mariadb)
    ask = postfix(
        tmp_path, database,
        "SELECT 'OK' FROM pbs_watch_grants WHERE address = '%s' "
        "AND expires > UNIX_TIMESTAMP() * 1000000 LIMIT 1",
    )  # fmt: skip
    until(lambda: ask("198.18.0.1") == "OK", "it is there")
    assert ask("2001:db8::1") == "OK"
    assert ask("198.18.0.2") == ""
    one.by_hand("revoke", "--user", "bob")
    until(lambda: ask("198.18.0.1") == "", "a revocation removes the rows")


def test_a_server_that_is_read_only_is_passed_over(mariadb: Engine, host: Start) -> None:
    replica = Mariadb("--read-only=ON")
    replica.start()
    try:
        replica.make_database(PASSWORD)
        primary = server(mariadb)
        url = f"mysql://pbs@{replica.where},{primary.where}/pbs"
        both = Engine(url, mariadb.words, [replica, primary])
        one = host("a", both, *PATIENT)
        one.is_in_step()
        one.logs_in("198.18.0.1")
        one.is_in_step()
        assert "198.18.0.1" in listed(mariadb.url, *mariadb.words)
        # The primary is demoted, the replica promoted: all is there after a moment.
        primary.run("SET GLOBAL read_only = ON")
        replica.run("SET GLOBAL read_only = OFF")
        promoted = Engine(f"mysql://pbs@{replica.where}/pbs", mariadb.words, [replica])
        promoted.init()
        primary.kill()
        one.logs_in("198.18.0.2")
        until(
            lambda: set(listed(promoted.url, *promoted.words)) == {"198.18.0.1", "198.18.0.2"},
            "what the replica lacked was offered again",
        )
        assert one.ask("198.18.0.3") == NO
    finally:
        replica.end()


def test_a_record_that_cannot_be_read_costs_no_other(mariadb: Engine) -> None:
    """And no lock stays behind whatever breaks a change off."""
    database = server(mariadb)
    database.run("INSERT INTO pbs_watch_orders VALUES ('BUeve', 'rubbish')", database="pbs")
    config = Config(shared=mariadb.url, shared_password_file=Path(str(mariadb.words[1])))
    now = time.time()
    bars = [record_of(Bar("user", name, now, now), "root@a") for name in (b"al", b"bob")]
    with (
        closing(engine(where(config), 1800.0)) as one,
        closing(engine(where(config), 1800.0)) as two,
    ):
        one.put_records(bars[:1], now)
        with pytest.raises(AttributeError):
            one.put_records([None], now)  # type: ignore[list-item]
        two.put_records(bars[1:], now)
        assert {record.key for record in one.records()} == {b"BUal", b"BUbob"}
        version = two.mark().version
        one.forget(b"bob")
        assert two.mark().version == version + 1
        assert {record.key for record in two.records()} == {b"BUal"}


# What a server must not be believed


def test_a_server_without_tls_is_told_nothing_where_tls_is_wanted(
    mariadb: Engine, tmp_path: Path
) -> None:
    database = server(mariadb)
    assert database.run("SELECT @@have_ssl") == [("DISABLED",)]
    made = certificates.make(tmp_path / "tls", "127.0.0.1")
    config = Config(
        shared=mariadb.url, shared_password_file=Path(str(mariadb.words[1])), shared_ca_file=made.ca
    )
    with (
        closing(engine(where(config), 1800.0)) as opened,
        pytest.raises(SharedError, match="offers no TLS"),
    ):
        opened.mark()


def test_another_spelling_of_an_address_ends_nothing(mariadb: Engine, host: Start) -> None:
    now = int(time.time() * 1e6)
    rows = (
        (address, expires)
        for address, expires in (
            ("198.18.0.9 ", now + 10**9), ("198.18.0.8", 2**64 - 1), ("198.18.0.7", now + 10**15),
            ("nonsense", now + 10**9),
        )
    )  # fmt: skip
    for address, expires in rows:
        server(mariadb).run(
            f"INSERT INTO pbs_watch_grants VALUES ('{address}', 'bob', 'pop3d', {now}, {expires})",
            database="pbs",
        )
    one = host("a", mariadb, *PATIENT)
    one.is_in_step()
    one.settings(
        f'shared = "{mariadb.url}"',
        f'shared_password_file = "{mariadb.words[1]}"',
        'never = ["192.0.2.0/24"]',
    )
    told = one.by_hand("why", "198.18.0.9").out.decode()
    assert told.startswith("198.18.0.9 may relay until ")
    assert one.ask("198.18.0.9") == OK
    assert one.ask("198.18.0.8") == NO
    assert one.ask("198.18.0.7") == OK
    one.logs_in("198.18.1.1")
    assert one.ask("198.18.1.1") == OK
    until(lambda: b"198.18.1.1" in one.by_hand("list").out, "it is committed")
    assert "198.18.1.1" in listed(mariadb.url, *mariadb.words)


def test_another_spelling_in_the_old_table_ends_nothing(mariadb: Engine, host: Start) -> None:
    now = int(time.time())
    server(mariadb).run(
        "CREATE TABLE authpfix (ip VARCHAR(45) PRIMARY KEY, logintime BIGINT NOT NULL)",
        f"INSERT INTO authpfix VALUES ('2001:DB8::9', {now}), ('198.18.0.9 ', {now}), "
        "('198.18.0.8', 9000000000000000000)",
        database="pbs",
    )
    old = Engine(mariadb.url, (*mariadb.words, "--shared-layout", "authpfix"), mariadb.servers)
    one = host("a", old, *PATIENT)
    one.is_in_step()
    assert one.ask("2001:db8::9") == OK
    assert one.ask("198.18.0.9") == OK
    assert one.ask("198.18.0.8") == NO
    one.logs_in("198.18.1.1")
    assert one.ask("198.18.1.1") == OK


def test_what_is_wrong_is_said_with_what_mends_it(mariadb: Engine) -> None:
    database = server(mariadb)
    database.run(
        "DROP TABLE pbs_watch_grants", "REVOKE CREATE ON pbs.* FROM pbs@'%'", database="pbs"
    )
    words = ("--config", "/dev/null", *mariadb.words)
    told = refused("shared", "init", "--shared", mariadb.url, *words)
    assert "this account may not make tables" in told
    other = mariadb.url.removesuffix("/pbs") + "/mysql"
    assert "no rights on the database, or its name is wrong" in refused(
        "shared", "init", "--shared", other, *words
    )
    old = ("--shared", mariadb.url, "--shared-layout", "authpfix", *words)
    checked = command("shared", "check", *old)
    assert checked.status == 1
    assert "CREATE TABLE authpfix (ip VARCHAR(45)" in checked.lines[0]
    assert "shared_table" in checked.lines[0]


def test_another_layout_is_told_all_by_a_reload(mariadb: Engine, host: Start) -> None:
    """Both layouts have one table of what the data are called."""
    database = server(mariadb)
    now = int(time.time())
    database.run(
        "CREATE TABLE authpfix (ip VARCHAR(45) NOT NULL PRIMARY KEY, logintime BIGINT NOT NULL)",
        f"INSERT INTO authpfix VALUES ('198.18.0.2', {now - 60}), ('198.18.9.1', 1000000000)",
        database="pbs",
    )
    settings = (f'shared = "{mariadb.url}"', f'shared_password_file = "{mariadb.words[1]}"')
    one = host("a", Engine("", (), []), *PATIENT)
    one.settings(*settings)
    one.by_hand("reload")
    one.is_in_step()
    one.logs_in("198.18.0.1", "198.18.0.2")
    one.is_in_step()
    one.by_hand("revoke", "198.18.0.2")
    one.is_in_step()
    layout = ("--shared-layout", "authpfix")
    words = ("--config", "/dev/null", "--shared", mariadb.url, *mariadb.words, *layout)
    checked = command("shared", "check", *words)
    assert checked.status == 0, checked
    assert any("1 row of authpfix is older than window (30 min)" in x for x in checked.lines)
    there = "SELECT ip FROM authpfix WHERE ip = '192.0.2.255'"
    assert database.run(there, database="pbs") == []
    one.settings(*settings, 'shared_layout = "authpfix"')
    one.by_hand("reload")
    until(
        lambda: set(listed(mariadb.url, *mariadb.words, *layout)) == {"198.18.0.1"},
        "the other table has what is known here, and not what was revoked",
    )


def test_a_connection_is_there_before_the_first_question(mariadb: Engine, host: Start) -> None:
    host("a", mariadb)
    count = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'pbs'"
    until(lambda: server(mariadb).run(count)[0][0] == 2, "one tells, one waits to ask")


# An old authpfix site


def postfix(home: Path, database: Mariadb, query: str) -> Callable[[str], str]:
    """A lookup in a ``mysql:`` table of a real Postfix."""
    etc = home / "postfix"
    etc.mkdir(exist_ok=True)
    (etc / "main.cf").write_text("compatibility_level = 3.6\n")
    (etc / "dynamicmaps.cf").write_text((POSTFIX_SHARE / "dynamicmaps.cf").read_text())
    more = POSTFIX_SHARE / "dynamicmaps.cf.d"
    (etc / "dynamicmaps.cf.d").mkdir(exist_ok=True)
    for path in more.iterdir():
        (etc / "dynamicmaps.cf.d" / path.name).write_text(path.read_text())
    table = etc / "relay.cf"
    table.write_text(
        f"hosts = inet:{database.where}\nuser = pbs\npassword = {PASSWORD}\ndbname = pbs\n"
        f"query = {query}\n"
    )

    def ask(key: str) -> str:
        done = subprocess.run(
            ["postmap", "-c", str(etc), "-q", key, f"mysql:{table}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "fatal" not in done.stderr, done.stderr
        assert "warning" not in done.stderr, done.stderr
        return done.stdout.strip()

    return ask


OLD_QUERY = (
    "SELECT 'OK' FROM authpfix WHERE ip = '%s' "
    "AND (logintime = 0 OR logintime > UNIX_TIMESTAMP() - 1800)"
)


def test_an_old_authpfix_site(mariadb: Engine, host: Start, tmp_path: Path) -> None:
    """Its table, its map in Postfix, our daemon instead of its module."""
    database = server(mariadb)
    now = int(time.time())
    database.run(
        "CREATE TABLE authpfix (ip CHAR(12) NOT NULL, logintime INT NOT NULL)",
        f"INSERT INTO authpfix VALUES ('198.18.7.1', 0), ('198.18.7.2', {now}), "
        "('198.18.7.3', 1000000000)",
        database="pbs",
    )
    table = tmp_path / "shared.cf"
    table.write_text(
        f"# as Postfix has it\nhosts = inet:{database.where}\nuser = pbs\npassword = {PASSWORD}\n"
        f"dbname = pbs\nquery = {OLD_QUERY}\n"
    )
    old = Engine(f"mysql:{table}", ("--shared-layout", "authpfix"), [database])
    words = ("--config", "/dev/null", "--shared", old.url, *old.words)
    # One thing after the other is named, each with the statement that mends it.
    for number in range(2):
        told = refused("shared", "init", *words)
        statement = "ALTER TABLE " + told.partition("ALTER TABLE ")[2]
        assert ("VARCHAR(45)" in told) == (number == 0)
        database.run(statement, database="pbs")
    old.init()
    ask = postfix(tmp_path, database, OLD_QUERY)
    one, other = host("a", old, *PATIENT), host("b", old, *PATIENT)
    one.is_in_step()
    # What the table has counts here, and what is permanent stays.
    assert one.ask("198.18.7.1") == OK
    assert one.ask("198.18.7.2") == OK
    assert one.ask("198.18.7.3") == NO
    until(
        lambda: (
            b"by a permanent row of the table authpfix"
            in command("why", "198.18.7.1", "--map", one.map, "--config", "/dev/null").out
        ),
        "why says so, and no year 1970",
    )
    assert listed(old.url, *old.words)["198.18.7.1"]["login"] is None
    one.logs_in("198.18.0.1", "2001:db8:1234:5678:9abc:def0:1234:5678", "198.18.7.1")
    assert other.ask("198.18.0.1") == OK
    until(lambda: ask("198.18.0.1") == "OK", "Postfix finds it in its own map")
    assert ask("2001:db8:1234:5678:9abc:def0:1234:5678") == "OK"
    assert ask("198.18.7.3") == ""
    one.is_in_step()
    # A permanent row is not made one that ends by a login from there.
    assert database.run(
        "SELECT logintime FROM authpfix WHERE ip = '198.18.7.1'", database="pbs"
    ) == [(0,)]
    one.by_hand("allow", "198.18.8.1", "--permanent")
    until(lambda: ask("198.18.8.1") == "OK", "a new permanent row")
    until(lambda: other.knows("198.18.8.1"), "and an order on the other host")
    other.by_hand("revoke", "198.18.8.1")
    other.by_hand("revoke", "198.18.0.1")
    until(lambda: ask("198.18.8.1") == "", "it is gone again")
    until(lambda: ask("198.18.0.1") == "", "so is the login")
    until(lambda: one.knows_not("198.18.0.1"), "on the host of the login as well")
