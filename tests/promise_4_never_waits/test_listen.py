"""The port is ours, on loopback only, and a socket file outlives nobody."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch.answer.server import Server
from pbs_watch.answer.socketmap import netstring
from pbs_watch.answer.wire import Answers
from pbs_watch.errors import ListenError
from tests.promise_4_never_waits.conftest import Connect
from tests.promise_4_never_waits.lookup_clients import drive, end, hear, lookup

RELAY = netstring(b"relay 198.18.0.1")
FOUND = netstring(b"OK OK")


@pytest.fixture
def server() -> Iterator[Server]:
    asides = {b"status": lambda key: b"state of " + key if key == b"all" else None}
    server = Server(lookup, Answers(), asides=asides)
    yield server
    server.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socketmap"


def test_both_protocols_answer_on_both_kinds_of_loopback(server: Server, connect: Connect) -> None:
    for address in ("127.0.0.1", "[::1]"):
        lines = server.listen_tcp_table(f"{address}:0")
        netstrings = server.listen_socketmap(f"{address}:0")
        assert lines.startswith(f"{address}:")
        client = connect(lines)
        client.send(b"get 198.18.0.1\n")
        hear(server, client, b"200 OK\n")
        client = connect(netstrings)
        client.send(RELAY + RELAY)
        hear(server, client, FOUND + FOUND)


@pytest.mark.parametrize("where", ["0.0.0.0:0", "[::]:0", "192.0.2.1:10041", "[::ffff:7f00:1]:0"])
def test_what_is_not_loopback_is_refused(server: Server, where: str) -> None:
    for open_socket in (server.listen_tcp_table, server.listen_socketmap):
        with pytest.raises(ListenError, match="allow_remote"):
            open_socket(where)


def test_what_is_not_loopback_can_be_allowed() -> None:
    server = Server(lookup, Answers(), allow_remote=True)
    assert server.listen_tcp_table("0.0.0.0:0").startswith("0.0.0.0:")
    server.close()


@pytest.mark.parametrize(
    "where",
    [
        *("", "10041", ":10041", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"),
        *("localhost:10041", "::1:10041", "[127.0.0.1]:10041", "127.0.0.1:-1", "[::1]"),
    ],
)
def test_what_is_not_an_address_is_refused_with_an_example(server: Server, where: str) -> None:
    with pytest.raises(ListenError, match=r"not an address; write 127\.0\.0\.1:10041"):
        server.listen_tcp_table(where)


def test_a_port_in_use_is_refused_with_a_cure(server: Server) -> None:
    where = server.listen_tcp_table("127.0.0.1:0")
    with pytest.raises(ListenError, match=r"Address already in use; stop the program") as caught:
        server.listen_tcp_table(where)
    assert str(caught.value).startswith(where)
    assert "\n" not in str(caught.value)


def test_a_port_is_free_again_after_a_restart(server: Server, connect: Connect) -> None:
    before = Server(lookup, Answers())
    where = before.listen_tcp_table("127.0.0.1:0")
    connect(where)
    drive(before, lambda: before.connections == 1)
    before.close()
    assert server.listen_tcp_table(where) == where


def test_a_socket_handed_over_is_served_if_it_is_loopback(server: Server, connect: Connect) -> None:
    handed = socket.create_server(("127.0.0.1", 0))
    client = connect(server.adopt(handed, "socketmap"))
    client.send(RELAY)
    hear(server, client, FOUND)
    everywhere = socket.create_server(("", 0))
    with pytest.raises(ListenError, match="allow_remote"):
        server.adopt(everywhere, "tcp_table")
    everywhere.close()


def test_a_socket_file_is_open_to_postfix_and_removed_at_the_end(
    path: Path, connect: Connect
) -> None:
    for mode in (0o666, 0o600):
        server = Server(lookup, Answers(), unix_mode=mode)
        where = server.listen_socketmap(f"unix:{path}")
        assert where == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == mode
        client = connect(where)
        client.send(RELAY)
        hear(server, client, FOUND)
        server.close()
        assert not path.exists()


def test_the_socket_file_of_a_dead_server_is_replaced(
    server: Server, path: Path, connect: Connect
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    client = connect(server.listen_socketmap(f"unix:{path}"))
    client.send(RELAY)
    hear(server, client, FOUND)


def test_the_socket_file_of_a_live_server_is_not(server: Server, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with pytest.raises(ListenError, match="another server listens there"):
            server.listen_socketmap(f"unix:{path}")


def test_what_is_not_a_socket_is_not_replaced(server: Server, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ListenError, match="not a socket"):
        server.listen_socketmap(f"unix:{path}")
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["relative", "/nonexistent/socketmap", "/" + "x" * 200])
def test_an_impossible_path_is_refused_in_one_line(server: Server, name: str) -> None:
    with pytest.raises(ListenError, match="unix:") as caught:
        server.listen_socketmap(f"unix:{name}")
    assert "\n" not in str(caught.value)


def test_asides_are_told_on_the_live_socket_only(
    server: Server, tmp_path: Path, path: Path, connect: Connect
) -> None:
    asked = netstring(b"status all") + netstring(b"status x") + netstring(b"other x") + RELAY
    perm = netstring(b"PERM unknown map name, expected: relay")
    server.listen_live(tmp_path / "live")
    here = connect(f"unix:{tmp_path}/live")
    here.send(asked)
    hear(server, here, netstring(b"OK state of all") + netstring(b"NOTFOUND ") + perm + FOUND)
    for where in (f"unix:{path}", "127.0.0.1:0"):
        there = connect(server.listen_socketmap(where))
        there.send(asked)
        hear(server, there, perm * 3 + FOUND)


def test_the_live_socket_is_for_the_own_group_and_may_lie_deep(tmp_path: Path) -> None:
    server = Server(lookup, Answers())
    deep = tmp_path / ("x" * 200)
    deep.mkdir()
    server.listen_live(deep / "live")
    assert stat.S_IMODE((deep / "live").stat().st_mode) == 0o660
    server.close()
    assert not (deep / "live").exists()
    again = Server(lookup, Answers())
    with pytest.raises(ListenError, match="/nonexistent/live: No such file or directory"):
        again.listen_live(Path("/nonexistent/live"))
    again.close()


def test_a_broken_netstring_gets_perm_and_the_end(
    server: Server, path: Path, connect: Connect
) -> None:
    client = connect(server.listen_socketmap(f"unix:{path}"))
    client.send(RELAY + b"garbage" + RELAY * 5000)
    end(server, client, FOUND + netstring(b"PERM not a netstring"))
