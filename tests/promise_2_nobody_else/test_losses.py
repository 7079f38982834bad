"""Where a log's collector dropped messages, the first piece of a cut line may be among them."""

from __future__ import annotations

import pytest

from pbs_watch.log.cuts import Mode
from tests.logs import AFTER_CAPTURES, Watched, capture, truth

LOST = {
    "rsyslog begins": (
        "rsyslogd",
        "imuxsock[pid 812]: begin to drop messages due to rate-limiting",
    ),
    "rsyslog ends": ("rsyslogd", "imuxsock lost 33 messages from pid 812 due to rate-limiting"),
    "rsyslog imjournal": (
        "rsyslogd",
        "imjournal: 1234 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
    ),
    "rsyslog numbered": ("rsyslogd-2177", "imuxsock lost 33 messages due to rate-limiting"),
    "rsyslog with a pid": ("rsyslogd[99]", "imuxsock lost 3 messages due to rate-limiting"),
    "journald": ("systemd-journald[301]", "Suppressed 2117 messages from courier-pop.service"),
    "journald cut off": ("systemd-journal[301]", "Suppressed 2117 messages from a.service"),
    "journald of old": ("journal", "Suppressed 33 messages from /system.slice/courier.service"),
}

SAYINGS = ("imuxsock lost 33 messages due to rate-limiting", "Suppressed 3 messages from a.service")
OTHERS = ("pop3d", "imapd", "cron[5]", "logger", "myrsyslogd", "sshd[7]: rsyslogd", "root: journal")


def line(second: float, text: str, *, tag: str = "pop3d", host: str = "mail") -> bytes:
    return f"2026-11-22T08:44:{second:09.6f}+00:00 {host} {tag}: {text}\n".encode()


def login(second: float, address: str, *, tag: str = "pop3d", host: str = "mail") -> bytes:
    mark = ", protocol=IMAP" if tag == "imapd" else ""
    return line(second, f"LOGIN, user=bob, ip=[{address}], port=[4242]{mark}", tag=tag, host=host)


def after(loss: bytes, mode: Mode = "strict") -> Watched:
    """A log with logins of two tags before and after ``loss``, which is at second 10."""
    watching = Watched(mode)
    watching.feed(login(9, "198.18.0.1") + login(9.5, "198.18.1.1", tag="imapd") + loss)
    watching.feed(login(10.1, "198.18.0.2") + login(10.2, "198.18.1.2", tag="imapd"))
    # Two messages of each are suspect whenever they come, and what follows in their second.
    watching.feed(login(30, "198.18.0.3") + login(30.9, "198.18.0.4") + login(31.1, "198.18.0.5"))
    watching.feed(login(40, "198.18.1.3", tag="imapd") + login(41.1, "198.18.1.4", tag="imapd"))
    return watching


BEFORE = {"198.18.0.1", "198.18.1.1"}
ALL = BEFORE | {f"198.18.0.{n}" for n in range(2, 6)} | {f"198.18.1.{n}" for n in range(2, 5)}


@pytest.mark.parametrize(("tag", "text"), LOST.values(), ids=LOST.keys())
def test_every_tag_is_suspect_after_a_loss(tag: str, text: str) -> None:
    watching = after(line(10, text, tag=tag))
    assert watching.allowed() == BEFORE | {"198.18.0.5", "198.18.1.4"}
    assert (watching.chain.counts.cuts, watching.chain.counts.suspect) == (1, 5)


@pytest.mark.parametrize("text", SAYINGS)
@pytest.mark.parametrize("tag", OTHERS)
def test_the_same_text_of_anybody_else_is_no_loss(tag: str, text: str) -> None:
    watching = after(line(10, text, tag=tag))
    assert watching.allowed() == ALL
    assert (watching.chain.counts.cuts, watching.chain.counts.suspect) == (0, 0)


@pytest.mark.parametrize("text", ["imuxsock: rate-limiting is off", "suppressed 3 messages"])
def test_a_collector_may_say_other_things(text: str) -> None:
    assert after(line(10, text, tag="rsyslogd")).allowed() == ALL


def test_next_takes_one_message_of_each_tag() -> None:
    watching = after(line(10, LOST["journald"][1], tag="systemd-journald"), "next")
    assert watching.allowed() == ALL - {"198.18.0.2", "198.18.1.2"}


def test_off_takes_none() -> None:
    assert after(line(10, LOST["journald"][1], tag="systemd-journald"), "off").allowed() == ALL


def test_a_loss_on_one_host_makes_the_others_suspect_as_well() -> None:
    # In a central log the collector drops what all hosts sent.
    watching = Watched()
    watching.feed(line(10, SAYINGS[0], tag="rsyslogd", host="loghost"))
    watching.feed(login(10.5, "198.18.0.1", host="mail1") + login(10.5, "198.18.0.2", host="mail2"))
    assert watching.allowed() == set()


def test_a_loss_while_tags_are_suspect_begins_anew() -> None:
    loss = line(10, SAYINGS[0], tag="rsyslogd")
    watching = Watched()
    watching.feed(loss + line(10.1, "Connection, ip=[198.18.9.1]") + loss)
    watching.feed(login(20, "198.18.0.1") + login(30, "198.18.0.2") + login(31.5, "198.18.0.3"))
    assert watching.allowed() == {"198.18.0.3"}


@pytest.mark.parametrize("stamps", ["bsd", "rfc3339"])
def test_a_loss_in_the_middle_of_a_real_log(stamps: str) -> None:
    lines = capture("courier-clean", stamps).splitlines(keepends=True)
    at = len(lines) // 2
    stamp = lines[at][: lines[at].index(b" mail ")]
    lost = stamp + b" mail rsyslogd: " + SAYINGS[0].encode() + b"\n"
    watching = Watched()
    watching.feed(b"".join([*lines[:at], lost, *lines[at:]]), AFTER_CAPTURES)
    counts = watching.chain.counts
    everybody = set(truth("courier-clean")["authenticated"])
    assert watching.allowed() <= everybody
    assert counts.suspect > 0
    assert counts.judged.logins + counts.judged.ends + counts.suspect == 160
