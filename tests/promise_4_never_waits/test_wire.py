"""Every request gets exactly one reply, in order, however its bytes were split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_watch.answer.conversation import TURN_LIMIT, Conversation
from pbs_watch.answer.socketmap import Socketmap, netstring
from pbs_watch.answer.tcp_table import TcpTable
from pbs_watch.answer.verdict import Verdict
from pbs_watch.answer.wire import Answers, Reply, Wire
from pbs_watch.errors import ConfigError

TCP_TABLE = TcpTable(Answers())
SOCKETMAP = Socketmap(Answers(), {b"status": lambda key: b"fine" if key == b"now" else None})


def lookup(key: bytes) -> Verdict | None:
    """A verdict for each last byte: found, not found, unknown, or a question."""
    return [Verdict.FOUND, Verdict.ABSENT, Verdict.UNKNOWN, None][key[-1] % 4]


def converse(wire: Wire, pieces: list[bytes]) -> tuple[bytes, bool]:
    """All replies to the pieces, each question settled when it arises; and whether it is over."""
    conversation = Conversation(wire, lookup)
    replies = b""
    for piece in pieces:
        replies += conversation.hear(piece)
        while conversation.question is not None or conversation.more:
            asked = conversation.question is not None
            replies += conversation.settle(Verdict.FOUND) if asked else conversation.resume()
    return replies, conversation.over


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def taken(wire: Wire, data: bytes) -> bytes | Reply | None:
    request = wire.take(data, 0)
    return None if request is None else request[0]


# tcp_table


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b"get 198.18.1.2\n", b"198.18.1.2"),
        (b"get 198.18.1.2\r\n", b"198.18.1.2"),
        (b"get 2001:db8::1\n", b"2001:db8::1"),
        (b"get unknown\n", b"unknown"),
        (b"get a%20b%C3%a9%25\n", b"a b\xc3\xa9%"),
        (b"get %0a%0D\n", b"\n\r"),
    ],
)
def test_a_get_line_asks_for_its_unquoted_key(line: bytes, key: bytes) -> None:
    assert TCP_TABLE.take(line, 0) == (key, len(line))
    assert TCP_TABLE.take(b"get x\n" + line + b"get", 6) == (key, 6 + len(line))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\r\n",
        b"get\n",
        b"get \n",
        b"get \r\n",
        b"get  198.18.1.2\n",
        b"get 198.18.1.2 \n",
        b"get 198.18.1.2\r\r\n",
        b"get a b\n",
        b"GET 198.18.1.2\n",
        b"get\t198.18.1.2\n",
        b" get 198.18.1.2\n",
        b"put 198.18.1.2 OK\n",
        b"get 198.18.1.2%\n",
        b"get 198.18.1.2%4\n",
        b"get %zz\n",
        b"get 198.18.1.2\0\n",
        b"get \xff\n",
        b"200 OK\n",
        b"\x16\x03\x01\x02\0\x01\n",
    ],
)
def test_any_other_line_gets_500_with_a_text_and_the_next_line_counts(line: bytes) -> None:
    reply = taken(TCP_TABLE, line)
    assert isinstance(reply, Reply)
    assert reply.data.startswith(b"500 ")
    assert len(reply.data) > 5
    assert reply.data.count(b"\n") == 1
    assert not reply.last
    assert converse(TCP_TABLE, [line + b"get 4\n"]) == (reply.data + b"200 OK\n", False)


def test_a_request_has_4096_bytes_with_its_newline_and_no_more() -> None:
    longest = b"get " + b"a" * 4091 + b"\n"
    assert taken(TCP_TABLE, longest) == b"a" * 4091
    assert taken(TCP_TABLE, b"get x\n" + longest) == b"x"
    assert taken(TCP_TABLE, longest[:-1]) is None
    for too_long in (
        b"a" + longest,
        b"get a" + longest[4:],
        longest[:-1] + b"\r\n",
        b"get " + b"a" * 4092,
        b"get " + b"%41" * 2000 + b"\n",
    ):
        reply = taken(TCP_TABLE, too_long)
        assert isinstance(reply, Reply)
        assert reply.data.startswith(b"400 ")
        assert reply.last


def test_what_follows_a_request_that_is_too_long_is_not_answered() -> None:
    replies, over = converse(TCP_TABLE, [b"get 4\n", b"x" * 5000 + b"\nget 4\n", b"get 4\n"])
    assert replies == b"200 OK\n400 request longer than 4096 bytes\n"
    assert over


def test_the_answer_is_quoted_as_postfix_unquotes_it() -> None:
    assert TcpTable(Answers(answer="a%b\r\n\0c")).replies.found == b"200 a%25b%0D%0A%00c\n"
    assert TcpTable(Answers(answer="permit")).replies.found == b"200 permit\n"


def test_trouble_fails_the_lookup_or_defers_the_mail() -> None:
    tempfail, defer = Answers(reason="wait"), Answers(trouble="defer", reason="wait")
    assert TcpTable(tempfail).replies.unknown == b"400 wait\n"
    assert TcpTable(defer).replies.unknown == b"200 DEFER 4.7.1 wait\n"
    assert Socketmap(tempfail, {}).replies.unknown == b"9:TEMP wait,"
    assert Socketmap(defer, {}).replies.unknown == b"19:OK DEFER 4.7.1 wait,"


@pytest.mark.parametrize("text", ["", " ", "x" * 1025])
def test_an_answer_that_postfix_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="answer: "):
        Answers(answer=text)
    with pytest.raises(ConfigError, match="reason: "):
        Answers(reason=text)


def test_every_reply_line_fits_into_postfix_s_buffer() -> None:
    replies = TcpTable(Answers(answer="%" * 1024, trouble="defer", reason="%" * 1024)).replies
    assert all(len(reply) <= 4096 for reply in (replies.found, replies.absent, replies.unknown))


# socketmap


def test_relay_is_the_map_and_its_key_may_hold_anything() -> None:
    assert taken(SOCKETMAP, b"16:relay 198.18.1.2,") == b"198.18.1.2"
    assert taken(SOCKETMAP, b"11:relay a b,\n,") == b"a b,\n"
    assert SOCKETMAP.take(b"?" + netstring(b"relay a") + b"rest", 1) == (b"a", 11)


@pytest.mark.parametrize("payload", [b"", b"relay", b"relay ", b" ", b"other x", b" relay x"])
def test_a_netstring_that_asks_nothing_we_know_is_perm_and_the_next_one_counts(
    payload: bytes,
) -> None:
    reply = taken(SOCKETMAP, netstring(payload))
    assert isinstance(reply, Reply)
    assert b":PERM " in reply.data
    assert not reply.last


@pytest.mark.parametrize(
    "data",
    [
        *(b"x", b":", b",", b"-1:", b"01:a,", b"00:,", b"1 :a,", b"\xb2:aa,"),
        *(b"3:abcd", b"3:abc\n", b"get 198.18.1.2\n", b"123456", b"10001:", b"99999:"),
    ],
)
def test_what_is_no_netstring_is_perm_and_the_end(data: bytes) -> None:
    replies, over = converse(SOCKETMAP, [netstring(b"relay 4") + data + netstring(b"relay 4")])
    assert replies.startswith(b"5:OK OK,")
    assert replies.count(b":PERM ") == 1
    assert over


@pytest.mark.parametrize("data", [b"", b"0", b"1", b"10000", b"16:", b"16:relay 198.18.1.2"])
def test_a_half_netstring_waits(data: bytes) -> None:
    assert SOCKETMAP.take(data, 0) is None


def test_a_query_has_10000_bytes_and_no_more() -> None:
    key = b"k" * (10_000 - len(b"relay "))
    assert taken(SOCKETMAP, netstring(b"relay " + key)) == key
    assert converse(SOCKETMAP, [netstring(b"relay k" + key)])[1]


def test_another_name_is_answered_by_its_callable() -> None:
    assert taken(SOCKETMAP, netstring(b"status now")) == Reply(b"7:OK fine,")
    assert taken(SOCKETMAP, netstring(b"status x")) == Reply(b"9:NOTFOUND ,")


# both

LINES = st.one_of(
    st.binary(max_size=12).filter(lambda key: b"\n" not in key),
    st.from_regex(rb"get [!-~]{1,9}\r?", fullmatch=True),
    st.just(b"get " + b"4" * 4095),
)
NETSTRINGS = st.one_of(
    st.binary(min_size=1, max_size=9).map(lambda key: netstring(b"relay " + key)),
    st.binary(max_size=9).map(netstring),
    st.binary(min_size=1, max_size=4),
)
CUTS = st.lists(st.integers(min_value=0, max_value=1 << 16), max_size=20)


@given(st.lists(LINES, max_size=8), CUTS)
def test_any_split_of_lines_gives_the_same_replies(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    replies, over = converse(TCP_TABLE, [data])
    assert converse(TCP_TABLE, split(data, cuts)) == (replies, over)
    short = [line for line in lines if len(line) < 4096]
    assert over == (len(short) < len(lines))
    expected = (
        len(lines) if not over else next(i for i, x in enumerate(lines) if len(x) >= 4096) + 1
    )
    assert replies.count(b"\n") == expected


@given(st.lists(NETSTRINGS, max_size=8), CUTS)
def test_any_split_of_netstrings_gives_the_same_replies(
    requests: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(requests)
    assert converse(SOCKETMAP, split(data, cuts)) == converse(SOCKETMAP, [data])


@given(st.lists(st.sampled_from([b"4", b"1", b"2", b"3"]), max_size=60))
def test_replies_come_in_the_order_of_the_requests(keys: list[bytes]) -> None:
    texts = {
        b"4": TCP_TABLE.replies.found,
        b"1": TCP_TABLE.replies.absent,
        b"2": TCP_TABLE.replies.unknown,
        b"3": TCP_TABLE.replies.found,  # a question, settled as found
    }
    data = b"".join(b"get %b\n" % key for key in keys)
    assert converse(TCP_TABLE, [data])[0] == b"".join(texts[key] for key in keys)


def test_a_turn_ends_and_can_be_resumed() -> None:
    conversation = Conversation(TCP_TABLE, lookup)
    replies = conversation.hear(b"get 4\n" * 10_000)
    assert TURN_LIMIT <= len(replies) <= TURN_LIMIT + 10
    while conversation.more:
        replies += conversation.resume()
    assert replies == b"200 OK\n" * 10_000


def test_what_is_heard_behind_a_question_waits_for_it() -> None:
    conversation = Conversation(TCP_TABLE, lookup)
    assert conversation.hear(b"get 4\nget 3\nget 1\n") == b"200 OK\n"
    assert conversation.hear(b"get 4\n") == b""
    assert conversation.question == b"3"
    assert conversation.settle(Verdict.ABSENT) == b"500 not found\n500 not found\n200 OK\n"


# Both: the short way of the usual request says what the long one says

_PARTS = st.sampled_from(
    [
        b"get ",
        b"198.18.1.2",
        b"a b",
        b"%41",
        b"\r",
        b"\n",
        b"17:",
        b"relay ",
        b"status ",
        b",",
        b"7",
    ]
)


@pytest.mark.parametrize("wire", [TCP_TABLE, SOCKETMAP], ids=["tcp_table", "socketmap"])
@given(parts=st.lists(_PARTS, max_size=6))
def test_what_is_seen_as_a_single_request_is_one(wire: Wire, parts: list[bytes]) -> None:
    for data in (b"".join(parts), netstring(b"".join(parts)), b"get " + b"".join(parts) + b"\n"):
        key = wire.single(data)
        assert key is None or wire.take(data, 0) == (key, len(data))


@pytest.mark.parametrize(
    ("wire", "request_"),
    [
        (TCP_TABLE, b"get %b\n"),
        (TCP_TABLE, b"get %b\r\n"),
        (SOCKETMAP, b"16:relay %b,"),
    ],
)
def test_what_postfix_sends_is_seen_as_a_single_request(wire: Wire, request_: bytes) -> None:
    assert wire.single(request_ % b"198.18.1.2") == b"198.18.1.2"


def test_a_single_request_is_no_longer_than_any_other() -> None:
    assert TCP_TABLE.single(b"get " + b"a" * 4091 + b"\n") == b"a" * 4091
    assert TCP_TABLE.single(b"get " + b"a" * 4092 + b"\n") is None
