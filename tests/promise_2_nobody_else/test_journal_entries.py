"""What a client can make of the journal's stripping of white space."""

from __future__ import annotations

import json

from pbs_watch.grants.address import literal
from pbs_watch.log import entry
from tests.logs import Watched

ATTACKER = "203.0.113.66"
WHOLE_TAIL = ", ip=[::ffff:198.18.1.1], port=[4242]"
"""What ends a genuine LOGIN FAILED: its last words, so that it does not look cut."""


def printed(message: str, raw: str = "") -> bytes:
    """An entry as ``journalctl -o json`` prints it; ``raw``: what the journal altered."""
    fields = {
        "__CURSOR": "s=1",
        "__REALTIME_TIMESTAMP": "1795339337000000",
        "_HOSTNAME": "mail",
        "SYSLOG_IDENTIFIER": "pop3d",
        "MESSAGE": message,
    }
    return json.dumps(fields | ({"SYSLOG_RAW": raw} if raw else {})).encode()


def pieces() -> list[str]:
    """A LOGIN FAILED whose user name is padded to where the logger cuts, and what follows."""
    first = f"LOGIN FAILED, user=x{WHOLE_TAIL}"
    return [first.ljust(505), f"LOGIN, user=x, ip=[::ffff:{ATTACKER}], port=[4242]"]


def granted(entries: list[bytes]) -> set[str]:
    watching = Watched()
    for one in entries:
        watching.feed(entry.read(one).line)
    assert literal(ATTACKER.encode()) is not None
    return watching.allowed()


def test_a_cut_piece_that_was_padded_with_spaces_is_still_cut() -> None:
    first, second = pieces()
    raw = f"<22>Nov 22 08:42:17 pop3d: {first}"
    assert granted([printed(first.rstrip(), raw), printed(second)]) == set()


def test_without_what_was_stripped_the_pieces_look_genuine() -> None:
    """Why the test above can fail: the first piece is a whole LOGIN FAILED without its spaces."""
    first, second = pieces()
    assert granted([printed(first.rstrip()), printed(second)]) == {ATTACKER}


def test_the_rest_of_the_raw_message_adds_nothing() -> None:
    message = f"LOGIN, user=bob, ip=[::ffff:{ATTACKER}], port=[1]"
    raw = f"<22>pop3d: {message}\n"
    assert granted([printed(message, raw)]) == {ATTACKER}
