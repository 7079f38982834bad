"""Engines of several servers, and of either kind, for the tests of failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon import command, free_port
from tests.engines import RUNNING, Mariadb, Redis, Sentinel, Server, wait
from tests.hosts import Host

PASSWORD = "a long one"


@dataclass(frozen=True)
class Engine:
    """``url`` and ``words`` for a host; ``servers``: what can be killed, the first is in use."""

    url: str
    words: tuple[str | Path, ...]
    servers: Sequence[Server]
    others: Sequence[Server] = ()

    def init(self) -> None:
        ended = command(
            "shared", "init", "--config", "/dev/null", "--shared", self.url, *self.words
        )
        assert ended.status == 0, ended

    def end(self) -> None:
        for server in (*self.others, *self.servers):
            server.end()


@pytest.fixture(autouse=True)
def no_server_is_left() -> Iterator[None]:
    """Ends what a test or the making of an engine broke off with."""
    yield
    for server in list(RUNNING):
        server.end()


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def one_redis(home: Path, _password: Path) -> Engine:
    """A Redis that keeps what it confirmed."""
    server = Redis(home / "redis", "appendonly yes", "appendfsync everysec")
    server.start()
    return Engine(f"redis://{server.where}/0", (), [server])


def one_mariadb(_home: Path, password: Path) -> Engine:
    server = Mariadb()
    server.start()
    server.make_database(PASSWORD)
    url = f"mysql://pbs@{server.where}/pbs"
    engine = Engine(url, ("--shared-password-file", password), [server])
    engine.init()
    return engine


def sentinels(home: Path, _password: Path) -> Engine:
    """A master with two replicas, and three Sentinels."""
    servers = [Redis(home / "r0")]
    servers += [
        Redis(home / f"r{number}", f"replicaof 127.0.0.1 {servers[0].port}") for number in (1, 2)
    ]
    for server in servers:
        server.start()
    master = servers[0].client()
    wait(lambda: master.info("replication")["connected_slaves"] == 2, "two replicas")
    watching = [Sentinel(home / f"s{number}", servers[0]) for number in range(3)]
    for one in watching:
        one.start()
    names = ",".join(one.where for one in watching)
    for one in watching:
        wait(
            lambda one=one: (
                b"num-other-sentinels,2" in told(one) and b"slaves=2" in told(one, info=True)
            ),
            "the Sentinels know each other and the replicas",
        )
    return Engine(f"redis+sentinel://{names}/pbs", (), servers, watching)


def told(sentinel: Sentinel, *, info: bool = False) -> bytes:
    """What a Sentinel says of its master."""
    import redis

    client = redis.Redis(port=sentinel.port, socket_timeout=5)
    if info:
        return f"slaves={client.info('sentinel')['master0']['slaves']}".encode()
    state = client.execute_command("SENTINEL", "MASTER", "pbs")
    pairs = state.items() if isinstance(state, dict) else zip(state[::2], state[1::2], strict=True)
    return b"\n".join(
        b"%s,%s" % tuple(word if isinstance(word, bytes) else str(word).encode() for word in pair)
        for pair in pairs
    )


def galera(_home: Path, password: Path) -> Engine:
    """Three nodes, each of which can be written to."""
    ports = [(free_port(), free_port(), free_port()) for _ in range(3)]
    members = ",".join(f"127.0.0.1:{group}" for group, _, _ in ports)
    nodes = []
    for number, (group, transfer, state) in enumerate(ports):
        options = (
            f"base_host=127.0.0.1;base_port={group};gmcast.listen_addr=tcp://127.0.0.1:{group};"
            f"ist.recv_addr=127.0.0.1:{transfer};gcache.size=16M;evs.keepalive_period=PT0.3S;evs.suspect_timeout=PT1S;"
            "evs.inactive_timeout=PT3S;evs.inactive_check_period=PT0.3S"
        )
        node = Mariadb(
            "--wsrep-on=ON",
            "--binlog-format=ROW",
            "--default-storage-engine=InnoDB",
            "--innodb-autoinc-lock-mode=2",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            "--wsrep-cluster-name=pbs",
            f"--wsrep-cluster-address=gcomm://{members if number else ''}",
            f"--wsrep-node-address=127.0.0.1:{group}",
            f"--wsrep-sst-receive-address=127.0.0.1:{state}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-provider-options={options}",
        )
        nodes.append(node)
        node.start()
        wait(
            lambda node=node: node.run("SHOW STATUS LIKE 'wsrep_ready'")[0][1] == "ON",
            "the node is ready",
        )
    nodes[0].make_database(PASSWORD)
    names = ",".join(node.where for node in nodes)
    engine = Engine(f"mysql://pbs@{names}/pbs", ("--shared-password-file", password), nodes)
    engine.init()
    return engine


Maker = Callable[[Path, Path], Engine]


@pytest.fixture(params=[one_redis, one_mariadb], ids=["redis", "mariadb"])
def single(request: pytest.FixtureRequest, tmp_path: Path, password: Path) -> Iterator[Engine]:
    """One server of either kind."""
    engine: Engine = request.param(tmp_path, password)
    yield engine
    engine.end()


@pytest.fixture(params=[sentinels, galera], ids=["sentinel", "galera"])
def several(request: pytest.FixtureRequest, tmp_path: Path, password: Path) -> Iterator[Engine]:
    """Several servers of either kind."""
    engine: Engine = request.param(tmp_path, password)
    yield engine
    engine.end()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts a host: a daemon with a log and a map of its own."""
    hosts: list[Host] = []

    def started(name: str, engine: Engine, *words: str | Path) -> Host:
        home = tmp_path / name
        home.mkdir()
        hosts.append(Host(home, name, engine.url, *engine.words, *words))
        return hosts[-1]

    yield started
    for one in hosts:
        one.end()
