"""The kernel as a second witness: it names the connections to our ports, and no others."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbs_watch import kernel
from pbs_watch.errors import ConfigError, SourceError
from pbs_watch.kernel import Connections, Kernel, Part, Remote, part, request
from tests.daemon import until

FIN_WAIT2, TIME_WAIT = "05", "06"
IMAP_LOGIN = b"a login bob secret\r\n"
MANY = 300
"""Connections that do not fit into 32 KiB, the longest part of an answer."""


class Server:
    """A listening socket on a port that nothing else uses, and the connections to it."""

    def __init__(self, keep: ExitStack, family: int, address: str, *, dual: bool = False) -> None:
        self._keep = keep
        self.listening = keep.enter_context(socket.socket(family))
        if family == socket.AF_INET6:
            self.listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        self.listening.bind((address, 0))
        self.listening.listen(128)
        self.port = int(self.listening.getsockname()[1])

    def dial(self, to: str) -> tuple[socket.socket, Remote]:
        """A client that has not been accepted, and its address as a login line would name it."""
        client = self._keep.enter_context(socket.create_connection((to, self.port)))
        address, port = client.getsockname()[:2]
        return client, (address.encode(), b"%d" % port)

    def connect(self, to: str) -> tuple[socket.socket, socket.socket, Remote]:
        """The client, the server's end, and the client's address."""
        client, remote = self.dial(to)
        return client, self._keep.enter_context(self.listening.accept()[0]), remote


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with ExitStack() as keep:
        yield lambda family=socket.AF_INET, address="127.0.0.1", **how: Server(
            keep, family, address, **how
        )


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()


def look(*ports: int) -> Connections:
    with closing(Kernel(ports)) as asked:
        return asked.look()


def nothing(connections: Connections) -> bool:
    return not connections.alive and not connections.known


def state(local: int, remote: Remote) -> str:
    """What /proc, which knows nothing of netlink, says of an IPv4 connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, shown = line.split()[:4]
        if ours.endswith(f":{local:04X}") and theirs.endswith(f":{int(remote[1]):04X}"):
            return shown
    return ""


@pytest.mark.parametrize(
    ("family", "address", "dual", "to", "named"),
    [
        (socket.AF_INET, "127.0.0.1", False, "127.0.0.1", b"127.0.0.1"),
        (socket.AF_INET6, "::1", False, "::1", b"::1"),
        (socket.AF_INET6, "::", True, "::1", b"::1"),
        # The kernel names the client ::ffff:127.0.0.1 here, as Courier does.
        (socket.AF_INET6, "::", True, "127.0.0.1", b"127.0.0.1"),
    ],
)
def test_a_connection_is_alive(
    serve: Callable[..., Server], *, family: int, address: str, dual: bool, to: str, named: bytes
) -> None:
    server = serve(family, address, dual=dual)
    assert nothing(look(server.port))
    _, _, remote = server.connect(to)
    assert remote[0] == named
    assert look(server.port) == Connections(frozenset({remote}), frozenset({remote}))


def test_a_session_that_the_server_closed_is_over_but_known(server: Server) -> None:
    client, ours, remote = server.connect("127.0.0.1")
    over = Connections(frozenset(), frozenset({remote}))
    ours.close()
    until(lambda: state(server.port, remote) == FIN_WAIT2, "the client has not closed yet")
    assert look(server.port) == over
    client.close()
    until(lambda: state(server.port, remote) == TIME_WAIT, "both have closed")
    assert look(server.port) == over


def test_a_session_lasts_until_the_server_hangs_up(server: Server) -> None:
    client, ours, remote = server.connect("127.0.0.1")
    client.close()
    assert ours.recv(1) == b""
    assert look(server.port).alive == {remote}
    ours.close()
    # The kernel remembers nothing where the client closed first.
    until(lambda: nothing(look(server.port)), "it is gone")


def test_a_connection_that_was_reset_is_gone(server: Server) -> None:
    client, ours, remote = server.connect("127.0.0.1")
    assert look(server.port).alive == {remote}
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    assert nothing(look(server.port))


def test_a_handshake_that_is_not_over_is_not_known(server: Server) -> None:
    """Whoever sends a SYN names any address as its own."""
    server.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    client, remote = server.dial("127.0.0.1")
    assert nothing(look(server.port))
    client.sendall(IMAP_LOGIN)
    until(lambda: look(server.port).alive == {remote}, "it is connected")


def test_other_ports_never_appear(serve: Callable[..., Server]) -> None:
    watched, other = [serve(), serve(), serve()], [serve(), serve()]
    remotes = {server.connect("127.0.0.1")[2] for server in watched}
    unrelated = {server.connect("127.0.0.1")[2] for server in other}
    assert len(remotes) == 3
    seen = look(*(server.port for server in watched))
    # Nor do the clients' own ends of these connections, which are on this host as well.
    assert seen == Connections(frozenset(remotes), frozenset(remotes))
    assert look(*(server.port for server in other)).known == unrelated
    for server in watched:
        assert len(look(server.port).known) == 1


def test_an_answer_of_many_parts_is_read_whole(server: Server) -> None:
    remotes = {server.connect("127.0.0.1")[2] for _ in range(MANY)}
    with closing(Kernel([server.port])) as asked:
        for _ in range(3):
            assert asked.look().alive == remotes


def test_an_answer_that_was_not_read_to_its_end_does_not_get_into_the_next(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes = {server.connect("127.0.0.1")[2] for _ in range(MANY)}
    with closing(Kernel([server.port])) as asked:
        with monkeypatch.context() as broken:
            broken.setattr(kernel, "part", lambda data: replace(part(data), error=errno.EBADMSG))
            with pytest.raises(SourceError, match="Bad message"):
                asked.look()
        assert asked.look().alive == remotes


def test_nothing_is_known_of_a_port_that_nobody_uses() -> None:
    assert nothing(look(1))


def test_no_ports_are_refused_rather_than_all_ports_shown() -> None:
    with pytest.raises(ConfigError, match="no ports to watch"):
        Kernel([])


def test_a_kernel_that_has_no_answers_is_a_line_for_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel, "_NETLINK_SOCK_DIAG", 31)
    with pytest.raises(ConfigError) as raised:
        Kernel()
    assert str(raised.value) == (
        "the kernel does not tell which connections there are (sock_diag: Protocol not supported); "
        "allow AF_NETLINK (systemd: RestrictAddressFamilies) and load the kernel module tcp_diag, "
        'or say witness = "off"'
    )


IGNORED = struct.pack("=IHHII", 16, 1, 1, 0, 0)
"""NLMSG_NOOP: the kernel never answers it."""


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (IGNORED, "timed out"),
        (request(250, [1]), "Invalid argument"),
        (request(socket.AF_INET, [1])[:-4] + bytes(4), "Invalid argument"),
    ],
)
def test_a_kernel_that_stops_answering_is_an_error_until_it_answers_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, asked: bytes, said: str
) -> None:
    _, _, remote = server.connect("127.0.0.1")
    with closing(Kernel([server.port])) as watching:
        with monkeypatch.context() as broken:
            broken.setattr(kernel, "_PATIENCE", 0.05)
            broken.setattr(watching, "_requests", [asked])
            with pytest.raises(SourceError) as raised:
                watching.look()
        assert str(raised.value) == (
            f"the kernel does not tell which connections there are (sock_diag: {said})"
        )
        assert watching.look().alive == {remote}


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_that_changed_while_it_was_made_is_asked_for_once_more(
    server: Server, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    _, _, remote = server.connect("127.0.0.1")
    left = times

    def interrupting(data: bytes) -> Part:
        nonlocal left
        read = part(data)
        if read.alive and left:
            left -= 1
            return replace(read, alive=[], interrupted=True)
        return read

    with closing(Kernel([server.port])) as watching:
        monkeypatch.setattr(kernel, "part", interrupting)
        if times == 1:
            assert watching.look().alive == {remote}
        else:
            with pytest.raises(SourceError, match="changed while it was read"):
                watching.look()
    assert left == 0


PORT = st.integers(1, 65535)


def lets_pass(code: bytes, port: int) -> bool:
    """What ``inet_diag_bc_run`` of the kernel's net/ipv4/inet_diag.c makes of the filter."""
    at = 0
    while at < len(code):
        kind, true, false = struct.unpack_from("=BBH", code, at)
        if kind == 1:
            at += false
            continue
        than = struct.unpack_from("=BBH", code, at + 4)[2]
        at += true if (port >= than if kind == 2 else port <= than) else false
    return at == len(code)


@given(st.lists(PORT, min_size=1, max_size=12), PORT)
def test_the_filter_lets_pass_the_ports_and_no_others(ports: Sequence[int], other: int) -> None:
    code = request(socket.AF_INET, ports)[16 + 56 + 4 :]
    for port in {other, *ports, *(port + 1 for port in ports), *(port - 1 for port in ports)}:
        assert lets_pass(code, port) == (port in ports)


@settings(deadline=None)
@given(st.sets(PORT, min_size=1, max_size=30))
def test_the_kernel_accepts_every_filter(ports: set[int]) -> None:
    look(*ports)


def row(family: int, state: int, packed: bytes, port: int) -> bytes:
    """A message about one socket, with an attribute behind it as the kernel sends them."""
    body = struct.pack("=BBxx", family, state) + struct.pack(">HH", 143, port)
    body += bytes(16) + packed.ljust(16, b"\0") + bytes(32) + struct.pack("=HHB3x", 5, 8, 3)
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 0, 99) + body


def done(error: int = 0, flags: int = 2) -> bytes:
    return struct.pack("=IHHIIi", 20, 3, flags, 0, 99, -error)


BOB, ANN = bytes([198, 18, 0, 1]), bytes([198, 18, 0, 2])


def test_an_answer_is_read_up_to_its_end() -> None:
    rows = [row(socket.AF_INET, number, BOB, number) for number in range(14)]
    read = part(b"".join(rows) + done() + row(socket.AF_INET, 1, ANN, 4242))
    assert read.alive == [(b"198.18.0.1", b"1"), (b"198.18.0.1", b"8")]
    assert read.ended == [(b"198.18.0.1", b"%d" % number) for number in (4, 5, 6, 9, 11)]
    assert (read.last, read.interrupted, read.error) == (True, False, 0)


def test_an_answer_that_failed_half_way_says_so() -> None:
    assert part(row(socket.AF_INET, 1, BOB, 4242) + done(errno.ENOENT)).error == errno.ENOENT
    assert part(done(flags=0x12)).interrupted


@pytest.mark.parametrize("length", [*range(1, 16), 17, 60, 95])
def test_a_message_that_is_cut_short_is_an_error(length: int) -> None:
    whole = row(socket.AF_INET, 1, BOB, 4242)
    assert part(whole + whole[:length]).error == errno.EBADMSG


@given(st.binary(max_size=200), st.integers(0, 255))
def test_garbage_is_read_without_harm(garbage: bytes, family: int) -> None:
    part(garbage)
    assert part(row(family, 1, BOB, 4242)).error in (0, errno.EBADMSG)
    assert part(struct.pack("=IHHII", 16 + len(garbage), 20, 2, 0, 0) + garbage).error in (
        0,
        errno.EBADMSG,
    )
