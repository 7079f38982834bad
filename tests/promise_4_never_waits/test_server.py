"""The port is always open, and nobody waits because of somebody else."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pbs_watch.answer.server import Server
from pbs_watch.answer.socketmap import netstring
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers
from tests.promise_4_never_waits.conftest import Connect
from tests.promise_4_never_waits.lookup_clients import (
    GRANTED,
    NAME,
    UNSURE,
    Client,
    drive,
    end,
    hear,
    lookup,
)

OK = b"200 OK\n"
NO = b"500 not found\n"
GET = b"get 198.18.0.1\n"
MISS = b"get 198.19.0.1\n"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(lookup, Answers(reason="wait"))
    yield server
    server.close()


@pytest.fixture
def where(server: Server) -> str:
    return server.listen_tcp_table("127.0.0.1:0")


def settle(server: Server, verdict: Verdict = Verdict.ABSENT) -> int:
    """Settles what waits; the number of questions."""
    questions = server.take_waiting()
    server.settle(questions, lambda _key: verdict)
    return len(questions)


def test_what_is_known_is_answered_at_once(server: Server, where: str, connect: Connect) -> None:
    client = connect(where)
    for key, reply in ((GRANTED, OK), (NAME, NO), (UNSURE, b"400 wait\n"), (GRANTED, OK)):
        client.send(b"get %b\n" % key)
        hear(server, client, reply)


def test_requests_sent_together_are_answered_in_order(
    server: Server, where: str, connect: Connect
) -> None:
    client = connect(where)
    client.send(GET + b"put x y\r\n" + b"get mail.example.com\r\n" + MISS + GET + MISS + GET)
    hear(server, client, OK + b"500 expected: get KEY\n" + NO)
    assert settle(server, Verdict.FOUND) == 1
    hear(server, client, OK + OK)
    assert settle(server) == 1
    hear(server, client, NO + OK)
    assert not server.waiting


def test_a_request_in_single_bytes_gets_one_reply(
    server: Server, where: str, connect: Connect
) -> None:
    client = connect(where)
    for byte in b"get 198.18.0.1\r\n":
        server.poll(0)
        client.read()
        assert not client.heard
        client.send(bytes([byte]))
    hear(server, client, OK)


def test_a_question_tells_its_key_and_when_it_arrived(
    server: Server, where: str, connect: Connect
) -> None:
    client = connect(where)
    before = time.monotonic()
    client.send(b"get 198.19.0.%37\n")
    drive(server, lambda: bool(server.waiting))
    (question,) = server.take_waiting()
    assert question.key == b"198.19.0.7"
    assert before <= question.arrived <= time.monotonic()


def test_questions_that_arrive_together_are_settled_by_one_call(
    server: Server, where: str, connect: Connect
) -> None:
    clients = [connect(where) for _ in range(100)]
    for number, client in enumerate(clients):
        client.send(b"get 198.19.0.%d\n" % number)
    drive(server, lambda: len(server.waiting) == 100)
    odd = {b"198.19.0.%d" % number for number in range(1, 100, 2)}
    questions = server.take_waiting()
    server.settle(questions, lambda key: Verdict.FOUND if key in odd else Verdict.ABSENT)
    for number, client in enumerate(clients):
        hear(server, client, OK if number % 2 else NO)


def test_a_later_question_waits_for_the_next_round(
    server: Server, where: str, connect: Connect
) -> None:
    early, late = connect(where), connect(where)
    early.send(MISS)
    drive(server, lambda: bool(server.waiting))
    first = server.take_waiting()
    late.send(MISS)
    drive(server, lambda: bool(server.waiting))
    server.settle(first, lambda _key: Verdict.FOUND)
    hear(server, early, OK)
    hear(server, late, b"")
    assert settle(server) == 1
    hear(server, late, NO)


def test_a_question_is_settled_once(server: Server, where: str, connect: Connect) -> None:
    client = connect(where)
    client.send(MISS + MISS)
    drive(server, lambda: bool(server.waiting))
    questions = server.take_waiting()
    server.settle(questions, lambda _key: Verdict.UNKNOWN)
    server.settle(questions, lambda _key: Verdict.FOUND)
    hear(server, client, b"400 wait\n")
    assert settle(server) == 1
    hear(server, client, NO)


def test_other_connections_are_answered_while_a_question_waits(
    server: Server, where: str, connect: Connect
) -> None:
    waiting, other = connect(where), connect(where)
    waiting.send(MISS)
    drive(server, lambda: bool(server.waiting))
    other.send(GET)
    hear(server, other, OK)


def test_a_connection_reset_while_its_question_waits_is_forgotten(
    server: Server, where: str, connect: Connect
) -> None:
    gone, other = connect(where), connect(where)
    gone.send(MISS)
    other.send(MISS)
    drive(server, lambda: len(server.waiting) == 2)
    gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.socket.close()
    drive(server, lambda: server.connections == 1)
    settle(server)
    hear(server, other, NO)


def test_a_connection_closed_while_its_question_waits_harms_nobody(
    server: Server, where: str, connect: Connect
) -> None:
    gone, other = connect(where), connect(where)
    gone.send(MISS)
    other.send(MISS)
    drive(server, lambda: len(server.waiting) == 2)
    gone.socket.close()
    server.poll(0)
    settle(server)
    hear(server, other, NO)
    drive(server, lambda: server.connections == 1)


def test_a_client_that_ends_its_side_gets_its_replies_first(
    server: Server, where: str, connect: Connect
) -> None:
    client = connect(where)
    client.send(GET + MISS + GET + b"get half")
    client.socket.shutdown(socket.SHUT_WR)
    drive(server, lambda: bool(server.waiting))
    server.poll(0)
    settle(server)
    end(server, client, OK + NO + OK)
    assert server.connections == 0


@pytest.mark.parametrize("size", [4096, 5000, 300_000])
def test_a_request_that_is_too_long_gets_400_and_the_end(
    server: Server, where: str, size: int, connect: Connect
) -> None:
    client, other = connect(where), connect(where)
    client.send(GET + b"get " + b"a" * (size - 4))
    end(server, client, OK + b"400 request longer than 4096 bytes\n")
    client.socket.close()
    drive(server, lambda: server.connections == 1)
    other.send(GET)
    hear(server, other, OK)


def test_who_goes_on_after_the_end_is_cut_off(server: Server, where: str, connect: Connect) -> None:
    client = connect(where)
    chunk = b"a" * 65536

    def gone() -> bool:
        try:
            client.socket.send(chunk)
        except BlockingIOError:
            pass
        except OSError:
            return True
        return False

    drive(server, gone)
    assert server.connections == 0


def test_two_thousand_idle_connections_cost_nobody_anything(
    server: Server, where: str, connect: Connect
) -> None:
    for _ in range(1000):
        connect(where)
    half = [connect(where) for _ in range(1000)]
    for client in half:
        client.send(b"get 198.18.0")
    drive(server, lambda: server.connections == 2000)
    client = connect(where)
    client.send(GET)
    hear(server, client, OK)
    for client in half:
        client.send(b".1\n")
    for client in half:
        hear(server, client, OK)
    assert server.connections == 2001


def test_a_client_that_never_reads_is_not_read_from(
    server: Server, tmp_path: Path, connect: Connect
) -> None:
    # On a unix socket: the kernel's buffers for it do not grow.
    where = server.listen_socketmap(f"unix:{tmp_path}/socketmap")
    deaf, other = connect(where), connect(where)
    request, reply = b"3:a b,", netstring(b"PERM unknown map name, expected: relay")
    sent = stuck = 0
    while stuck < 20:
        try:
            sent += deaf.socket.send(request * 1000)
            stuck = 0
        except BlockingIOError:
            stuck += 1
        server.poll(0)
    assert sent < 2_000_000
    other.send(request)
    hear(server, other, reply)
    # As it reads at last, it gets a reply to each request that it sent whole.
    whole = sent // len(request)
    drive(server, lambda: len(deaf.heard) >= whole * len(reply), deaf)
    assert deaf.heard == reply * whole


def test_a_long_run_of_requests_does_not_keep_others_waiting(
    server: Server, where: str, connect: Connect
) -> None:
    greedy, other = connect(where), connect(where)
    greedy.send(b"\n" * 8000)
    drive(server, lambda: server.connections == 2)
    other.send(GET)
    hear(server, other, OK)
    greedy.read()
    assert 0 < greedy.heard.count(b"\n") < 8000
    drive(server, lambda: greedy.heard.count(b"\n") == 8000, greedy)


STEPS = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=3),
        st.sampled_from([GET, MISS, b"put\n", GET + MISS, b"get ", b"198.18.0.1\r\n", MISS * 3])
        | st.sampled_from(["poll", "settle", "reset", "close"]),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
@example([(0, b"get "), (0, b"put\n")])  # asks for the key "put"
def test_whatever_some_clients_do_the_others_get_their_replies(
    steps: list[tuple[int, bytes | str]],
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(closing(Server(lookup, Answers())))
        where = server.listen_tcp_table("127.0.0.1:0")
        clients = {number: Client(where) for number in range(4)}
        for client in clients.values():
            stack.enter_context(client.socket)
        sent = dict.fromkeys(clients, b"")
        for number, step in steps:
            if step == "poll":
                server.poll(0)
            elif step == "settle":
                settle(server)
            elif number not in clients:
                continue
            elif isinstance(step, bytes):
                clients[number].send(step)
                sent[number] += step
            else:
                gone = clients.pop(number).socket
                linger = struct.pack("ii", step == "reset", 0)
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                gone.close()
        expected = {number: replies_to(sent[number]) for number in clients}

        def all_answered() -> bool:
            settle(server)
            heard = all(len(clients[number].heard) >= len(expected[number]) for number in clients)
            return heard and server.connections == len(clients)

        drive(server, all_answered, *clients.values())
        assert {number: client.heard for number, client in clients.items()} == expected


def replies_to(sent: bytes) -> bytes:
    """What a server that answers one line after the other would have replied."""
    replies = b""
    for line in sent.split(b"\n")[:-1]:
        match line.removesuffix(b"\r").split(b" "):
            case [b"get", key] if key:
                replies += OK if key == GRANTED else NO
            case _:
                replies += b"500 expected: get KEY\n"
    return replies


def test_without_a_file_descriptor_new_connections_wait(connect: Connect) -> None:
    told: list[str] = []
    server = Server(lookup, Answers(), report=told.append)
    where = server.listen_tcp_table("127.0.0.1:0")
    old = connect(where)
    drive(server, lambda: server.connections == 1)
    new = connect(where)
    new.send(GET)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        drive(server, lambda: bool(told))
        old.send(GET)
        hear(server, old, OK)
        server.poll(0.15)
        server.poll(0.15)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    hear(server, new, OK)
    assert [text.split(":")[0] for text in told] == [
        "cannot accept connections",
        "accepting connections again",
    ]
    server.close()


def test_the_limit_of_open_files_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
    Server(lookup, Answers()).close()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_another_thread_wakes_the_poll(server: Server) -> None:
    thread = threading.Thread(target=server.wake)
    thread.start()
    server.poll(None)
    thread.join()


def test_a_watched_descriptor_is_called_until_it_is_unwatched(server: Server) -> None:
    inside, outside = os.pipe()
    seen: list[bytes] = []
    server.watch(inside, lambda: seen.append(os.read(inside, 10)))
    os.write(outside, b"one")
    drive(server, lambda: seen == [b"one"])
    server.unwatch(inside)
    os.write(outside, b"two")
    server.poll(0)
    assert seen == [b"one"]
    os.close(inside)
    os.close(outside)


def test_replies_are_sent_without_delay_and_dead_hosts_are_noticed(
    server: Server, where: str, connect: Connect
) -> None:
    connect(where)
    drive(server, lambda: server.connections == 1)
    (connection,) = server._connections.values()
    accepted = connection.socket
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert not accepted.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
