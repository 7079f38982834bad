"""What ``doctor`` says of facts: for each check a broken set-up and a sound one.

The facts here are values and the words of configuration files; that they are gathered rightly from
a real host is seen in test_doctor.py and tests/system/test_doctor.py.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pbs_watch.commands.state import taken
from pbs_watch.config import Config
from pbs_watch.doctor import (
    courier,
    daemon,
    host,
    journal,
    log,
    port,
    rotation,
    settings,
    syslog,
)
from pbs_watch.doctor import (
    map as map_,
)
from pbs_watch.doctor.finding import Finding, Level
from pbs_watch.grants.address import Networks, network
from pbs_watch.log.clock import Clock
from tests.daemon import line, login
from tests.logs import COURIER

FINE, LOOK, UNSEEN, WRONG = Level.FINE, Level.LOOK, Level.UNSEEN, Level.WRONG
NOW = 1795339337.0
ORDER = (FINE, UNSEEN, LOOK, WRONG)


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """The worst level of each check; whatever is not fine says what to do about it."""
    found: dict[str, Level] = {}
    for one in findings:
        assert "\n" not in str(one)
        assert one.level is not WRONG or one.cure, one
        worst = found.get(one.check, FINE)
        found[one.check] = max(worst, one.level, key=ORDER.index)
    return found


def cures(findings: Iterable[Finding], check: str) -> str:
    """What mends the check."""
    return " | ".join(one.cure for one in findings if one.check == check)


# The log


def tail(*lines: bytes, now: float = NOW, clock: Clock | None = None) -> log.Tail:
    return log.survey(b"".join(lines), COURIER, clock or Clock(UTC), now, "strict")


def followed(*lines: bytes, clock: Clock | None = None, **changes: Any) -> log.Facts:
    facts = log.Facts(
        "/var/log/mail.log",
        readable=True,
        account="pbs-watch",
        size=1000,
        modified=NOW,
        tail=tail(*lines, clock=clock),
    )
    return replace(facts, **changes)


def of_log(facts: log.Facts, cuts: Any = "strict", hosts: tuple[str, ...] = ()) -> list[Finding]:
    return list(log.judge(facts, NOW, 0.0, cuts, hosts))


def test_a_log_in_use_is_fine() -> None:
    found = levels(of_log(followed(login("198.18.0.1", at=NOW - 5), line("noise", at=NOW))))
    assert found == dict.fromkeys(
        ["log-there", "log-readable", "log-fresh", "log-clock", "log-patterns", "log-hosts"], FINE
    )


def test_a_log_that_is_not_there() -> None:
    found = of_log(log.Facts("/var/log/mail.log", exists=False))
    assert levels(found) == {"log-there": WRONG}
    assert "journal" not in cures(found, "log-there")
    found = of_log(log.Facts("/var/log/mail.log", exists=False, journald=True, syslogd=False))
    assert "--log journal:" in cures(found, "log-there")


def test_a_folder_is_no_log() -> None:
    assert levels(of_log(log.Facts("/var/log", trouble="is a folder"))) == {"log-there": WRONG}


@pytest.mark.parametrize(
    ("changes", "level"),
    [({"readable": False}, WRONG), ({"readable": None}, UNSEEN), ({"readable": True}, FINE)],
)
def test_the_daemons_user_must_be_able_to_read_it(changes: dict[str, Any], level: Level) -> None:
    facts = followed(login("198.18.0.1", at=NOW), **changes)
    assert levels(of_log(facts))["log-readable"] is level


@pytest.mark.parametrize(
    ("age", "level"), [(0, FINE), (3000, FINE), (2 * 3600, LOOK), (3 * 86400, WRONG)]
)
def test_a_log_that_nobody_writes(age: float, level: Level) -> None:
    facts = followed(login("198.18.0.1", at=NOW - age), modified=NOW - age)
    found = levels(of_log(facts))
    assert found["log-fresh"] is level
    assert found["log-clock"] is FINE


def bsd_utc(when: float) -> str:
    moment = datetime.fromtimestamp(when, UTC)
    return f"{moment:%b} {moment.day:2} {moment:%H:%M:%S}"


def test_stamps_of_another_zone_are_known_by_the_files_own_time() -> None:
    vienna = Clock(timezone(timedelta(hours=1)))
    # Stamped in UTC, read as local time an hour east of it.
    text = line("noise", at=NOW, stamp=bsd_utc)
    facts = followed(text, clock=vienna)
    found = list(log.judge(facts, NOW, 3600.0, "strict", ()))
    assert levels(found)["log-clock"] is WRONG
    assert cures(found, "log-clock") == 'set zone = "UTC"'


def test_stamps_in_the_future_are_wrong_and_old_ones_of_a_copy_worth_a_look() -> None:
    future = followed(line("noise", at=NOW + 7000), modified=NOW)
    assert levels(of_log(future))["log-clock"] is WRONG
    both = followed(line("noise", at=NOW + 7000), modified=NOW + 7000)
    assert levels(of_log(both))["log-clock"] is WRONG
    copied = followed(line("noise", at=NOW - 5000), modified=NOW)
    assert levels(of_log(copied))["log-clock"] is LOOK


def test_what_is_known_of_a_log_that_was_emptied_a_moment_ago_is_old() -> None:
    stamped = line("noise", at=NOW - 1800, stamp=bsd_utc)
    assert levels(of_log(followed(stamped)))["log-clock"] is WRONG
    assert levels(of_log(followed(stamped, emptied=True, size=0)))["log-clock"] is UNSEEN


def test_near_misses_are_shown_with_the_command_that_explains_them() -> None:
    odd = line("LOGIN, user=bob, ip=[198.18.0.9], port=[1], new=\x1b[2J", at=NOW)
    found = of_log(followed(login("198.18.0.1", at=NOW), odd))
    assert levels(found)["log-near"] is WRONG
    assert "pbs-watch match" in cures(found, "log-near")
    assert "\x1b" not in "".join(map(str, found))
    assert "log-near" not in levels(of_log(followed(login("198.18.0.1", at=NOW))))


def test_a_log_without_logins_is_worth_a_look() -> None:
    assert levels(of_log(followed(line("noise", at=NOW))))["log-patterns"] is LOOK
    assert levels(of_log(followed(line("x", at=NOW, tag="other"))))["log-patterns"] is LOOK


@pytest.mark.parametrize(("cuts", "level"), [("strict", LOOK), ("next", LOOK), ("off", WRONG)])
def test_cut_lines_disprove_that_courier_truncates(cuts: str, level: Level) -> None:
    cut = line("LOGIN FAILED, user=" + "x" * 485, at=NOW)
    assert levels(of_log(followed(cut), cuts))["log-cuts"] is level
    assert "log-cuts" not in levels(of_log(followed(login("198.18.0.1", at=NOW)), cuts))


def test_lines_of_several_hosts() -> None:
    ours = login("198.18.0.1", at=NOW)
    theirs = ours.replace(b" mail ", b" other ")
    found = of_log(followed(ours, ours, theirs))
    assert levels(found)["log-hosts"] is LOOK
    assert 'hosts = ["mail", "other"]' in cures(found, "log-hosts")
    assert levels(of_log(followed(ours, theirs), hosts=("mail",)))["log-hosts"] is FINE
    assert levels(of_log(followed(ours, theirs), hosts=("gone",)))["log-hosts"] is WRONG


def test_a_log_that_this_user_cannot_read_is_not_called_broken() -> None:
    facts = log.Facts("/var/log/mail.log", unread="Permission denied", readable=None)
    assert set(levels(of_log(facts)).values()) == {UNSEEN, FINE}


# The journal


@pytest.mark.parametrize(
    ("facts", "check", "level"),
    [
        (journal.Facts("journal:", entries=3, permitted=True), "journal-trust", FINE),
        (journal.Facts("journal:", entries=0, permitted=True), "journal-trust", LOOK),
        (journal.Facts("journal:", others=9, permitted=True), "journal-trust", WRONG),
        (journal.Facts("journal:", "journalctl is not installed"), "journal", WRONG),
        (journal.Facts("journal:", permitted=False, account="x"), "journal", WRONG),
        (journal.Facts("journal:", permitted=None), "journal", UNSEEN),
    ],
)
def test_the_journal(facts: journal.Facts, check: str, level: Level) -> None:
    assert levels(journal.judge(facts, ["_COMM=courierlogger"]))[check] is level


def test_a_journal_of_which_everything_is_believed() -> None:
    found = levels(journal.judge(journal.Facts("journal:", entries=3, permitted=True), []))
    assert found == {"journal-trust": WRONG}


# Rotation

LOGROTATE = """\
/var/log/syslog
/var/log/mail.log
{
    rotate 4
    compress
    postrotate
        /usr/lib/rsyslog/rsyslog-rotate
    endscript
}
"""


def rotated(text: str, first: str = "weekly\ncreate\n") -> dict[str, Level]:
    files = {"/etc/logrotate.conf": first, "/etc/logrotate.d/rsyslog": text}
    return levels(rotation.judge("/var/log/mail.log", files, {}))


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        ("", "", FINE),
        ("/var/log/syslog\n/var/log/mail.log\n{", "/var/log/*.log {", FINE),
        ("/var/log/mail.log", '"/var/log/mail.log"', FINE),
        ("rotate 4", "copytruncate", LOOK),
        ("rotate 4", "# copytruncate", FINE),
        ("rotate 4", "olddir /var/log/old", LOOK),
        ("/usr/lib/rsyslog/rsyslog-rotate", "copytruncate", FINE),
        ("postrotate", "prerotate", LOOK),
        ("/var/log/mail.log", "/var/log/other.log", LOOK),
        ("/var/log/mail.log", "/var/*/mail.log", LOOK),
    ],
)
def test_how_the_log_is_rotated(old: str, new: str, level: Level) -> None:
    assert rotated(LOGROTATE.replace(old, new)) == {"log-rotation": level}


def test_copytruncate_for_all_holds_for_the_log_unless_it_says_otherwise() -> None:
    assert rotated(LOGROTATE, "copytruncate\n") == {"log-rotation": LOOK}
    kept = LOGROTATE.replace("rotate 4", "nocopytruncate")
    assert rotated(kept, "copytruncate\n") == {"log-rotation": FINE}


def test_rotation_that_cannot_be_seen() -> None:
    found = levels(rotation.judge("/var/log/mail.log", {}, {"/etc/logrotate.conf": "denied"}))
    assert found == {"log-rotation": UNSEEN}
    assert levels(rotation.judge("/var/log/mail.log", {}, {})) == {"log-rotation": LOOK}


# Syslog

RSYSLOG = """\
module(load="imuxsock")
#module(load="imudp")
#input(type="imudp" port="514")
$FileOwner root
*.*;auth,authpriv.none    -/var/log/syslog
mail.*                    -/var/log/mail.log
"""


def of_syslog(text: str, kind: str = "rsyslog") -> dict[str, Level]:
    facts = syslog.Facts(kind, {"/etc/rsyslog.conf": text}, {})
    return levels(syslog.judge(facts, ("/var/log/mail.log",)))


def test_debians_rsyslog_is_fine() -> None:
    assert of_syslog(RSYSLOG) == dict.fromkeys(
        ["syslog-remote", "log-imjournal", "syslog-split"], FINE
    )


@pytest.mark.parametrize(
    ("added", "level"),
    [
        ('input(type="imudp" port="514")\n', WRONG),
        ('input(\n  type="imudp"\n  port="514")\n', WRONG),
        ("$ModLoad imudp\n$UDPServerRun 514\n", WRONG),
        ("$UDPServerAddress 127.0.0.1\n$UDPServerRun 514\n", FINE),
        ('input(type="imudp" port="514" address="127.0.0.1")\n', FINE),
        ('input(type="imudp" port="514" ruleset="remote")\n', LOOK),
        ('input(type="imtcp" port="514")\n', LOOK),
        ("$InputTCPServerRun 514\n", LOOK),
        ("# $UDPServerRun 514\n", FINE),
        ('module(load="imudp")\n', FINE),
    ],
)
def test_messages_of_other_hosts_at_rsyslog(added: str, level: Level) -> None:
    assert of_syslog(RSYSLOG + added)["syslog-remote"] is level


@pytest.mark.parametrize(
    ("source", "level"),
    [
        ("system(); internal();", FINE),
        ("udp(ip(0.0.0.0) port(514));", WRONG),
        ('network(transport("udp") port(514));', WRONG),
        ('network(ip("127.0.0.1") transport("udp"));', FINE),
        ('syslog(transport("tls") port(6514));', LOOK),
        ("tcp();", LOOK),
    ],
)
def test_messages_of_other_hosts_at_syslog_ng(source: str, level: Level) -> None:
    text = f'source s_net {{ {source} }};\ndestination d {{ udp("10.0.0.1" port(514)); }};\n'
    assert of_syslog(text, "syslog-ng") == {"syslog-remote": level}


@pytest.mark.parametrize("added", ['module(load="imjournal")\n', "$ModLoad imjournal\n"])
def test_a_file_that_is_written_out_of_the_journal_is_no_source(added: str) -> None:
    assert of_syslog(RSYSLOG + added)["log-imjournal"] is WRONG


@pytest.mark.parametrize(
    ("rule", "level"),
    [
        ("mail.* /var/log/mail.log", FINE),
        ("mail.*;mail.!=info -/var/log/mail.log", WRONG),
        ("mail.info -/var/log/mail.log", LOOK),
        ("mail.debug -/var/log/mail.log", FINE),
        ("mail.warn -/var/log/mail.log", WRONG),
        ("mail.=info -/var/log/mail.log", WRONG),
        ("mail.info;mail.!warn -/var/log/mail.log", WRONG),
        ("mail.=info -/var/log/mail.log\nmail.=debug -/var/log/mail.log", WRONG),
        ("mail,news.* -/var/log/mail.log;RSYSLOG_FileFormat", FINE),
        ('mail.* action(type="omfile" file="/var/log/mail.log")', FINE),
        ("*.*;mail.none -/var/log/mail.log", WRONG),
        ("mail.* -/var/log/other.log", LOOK),
        ("if $programname == 'pop3d' then /var/log/mail.log", UNSEEN),
    ],
)
def test_a_mail_log_that_is_split_by_priority(rule: str, level: Level) -> None:
    text = RSYSLOG.replace("mail.*                    -/var/log/mail.log", rule)
    assert of_syslog(text)["syslog-split"] is level


def test_mail_log_beside_those_of_each_priority_is_whole() -> None:
    assert of_syslog(RSYSLOG + "mail.err /var/log/mail.err\n")["syslog-split"] is FINE


# Courier

CURE = "-stderrlogger=/usr/sbin/courierlogger -stderrloggername="
POP3D = 'TCPDOPTS="-nodnslookup -noidentlookup"\nLOGGEROPTS="-name=pop3d"\nPOP3DSTART=YES\n'
POP3D_SSL = 'SSLLOGGEROPTS="-name=pop3d-ssl"\nPOP3DSSLSTART=YES\n'
IMAPD = POP3D.replace("pop3d", "imapd").replace("POP3D", "IMAPD") + "# IMAP_ID_FIELDS=0\n"
FILES = {
    "pop3d": POP3D,
    "pop3d-ssl": POP3D_SSL,
    "imapd": IMAPD,
    "imapd-ssl": POP3D_SSL.replace("pop3d", "imapd").replace("POP3D", "IMAPD"),
    "authdaemonrc": "DEBUG_LOGIN=0\n",
}
TAGS = ["pop3d", "pop3d-ssl", "imapd", "imapd-ssl"]
CURED = {
    **FILES,
    **{name: FILES[name] + f'TCPDOPTS="-nodnslookup {CURE}{name}"\n' for name in courier.SERVICES},
}


def of_courier(files: dict[str, str], cuts: str = "off") -> dict[str, Level]:
    return levels(courier.judge(courier.Facts("/etc/courier", files, {}), cuts, TAGS))


@pytest.mark.parametrize("cuts", ["strict", "off"])
def test_a_cured_courier_is_fine_with_any_cuts(cuts: str) -> None:
    found = of_courier(CURED, cuts)
    assert found == dict.fromkeys(["courier-cure", "courier-tags", "courier-id"], FINE)


def test_debians_courier_is_worth_a_look_and_wrong_with_cuts_off() -> None:
    assert of_courier(FILES, "strict")["courier-cure"] is LOOK
    assert of_courier(FILES, "off")["courier-cure"] is WRONG


def test_the_line_that_cures_keeps_what_stood_there() -> None:
    found = courier.judge(courier.Facts("/etc/courier", FILES, {}), "strict", TAGS)
    text = cures(found, "courier-cure")
    options = f"-nodnslookup -noidentlookup {CURE}"
    for name in courier.SERVICES:
        assert f'write in /etc/courier/{name}: TCPDOPTS="{options}{name}"' in text


def test_the_cures_that_are_told_cure() -> None:
    mended = dict(FILES)
    for one in courier.judge(courier.Facts("/etc/courier", FILES, {}), "strict", TAGS):
        if one.check == "courier-cure":
            place, _, rest = one.cure.partition(": ")
            mended[place.rpartition("/")[2]] += rest.partition(", and")[0] + "\n"
    assert of_courier(mended)["courier-cure"] is FINE


def test_one_uncured_service_is_enough() -> None:
    assert of_courier({**CURED, "imapd": IMAPD})["courier-cure"] is WRONG
    # A service that is not started logs nothing.
    stopped = IMAPD.replace("IMAPDSTART=YES", "IMAPDSTART=NO")
    assert of_courier({**CURED, "imapd": stopped})["courier-cure"] is FINE


def test_the_tls_service_takes_over_the_options_of_the_other() -> None:
    shared = {**FILES, "pop3d": CURED["pop3d"]}
    del shared["imapd"], shared["imapd-ssl"]
    assert of_courier(shared)["courier-cure"] is FINE


@pytest.mark.parametrize(
    "text",
    [
        f'TCPDOPTS="$TCPDOPTS {CURE}pop3d"\n',
        f'TCPDOPTS="${{TCPDOPTS}} \\\n {CURE}pop3d"\n',
        f"TCPDOPTS='{CURE}pop3d' # as README says\n",
        f'export TCPDOPTS="-nodnslookup\n  {CURE}pop3d"\n',
    ],
)
def test_ways_to_write_the_cure(text: str) -> None:
    assert of_courier({"pop3d": POP3D + text})["courier-cure"] is FINE


@pytest.mark.parametrize("text", [f'# TCPDOPTS="{CURE}pop3d"\n', f'OTHER="{CURE}pop3d"\n'])
def test_what_is_no_cure(text: str) -> None:
    assert of_courier({"pop3d": POP3D + text})["courier-cure"] is WRONG


def test_a_tag_that_no_pattern_reads() -> None:
    odd = {"pop3d": POP3D + f'TCPDOPTS="{CURE}popper"\n'}
    assert of_courier(odd)["courier-tags"] is WRONG
    odd = {"pop3d": POP3D.replace("-name=pop3d", "-name=popper")}
    assert of_courier(odd, "strict")["courier-tags"] is WRONG


@pytest.mark.parametrize(
    ("added", "level"), [("IMAP_ID_FIELDS=0\n", WRONG), ("IMAP_ID_FIELDS=7\n", WRONG), ("", FINE)]
)
def test_identification_is_wrong_even_set_to_0(added: str, level: Level) -> None:
    assert of_courier({**CURED, "imapd": CURED["imapd"] + added})["courier-id"] is level


def test_debugging_of_logins() -> None:
    assert of_courier({**CURED, "authdaemonrc": "DEBUG_LOGIN=2\n"})["courier-debug"] is LOOK
    assert "courier-debug" not in of_courier(CURED)


def test_no_courier_and_one_that_cannot_be_seen() -> None:
    assert of_courier({}) == {"courier-cure": UNSEEN}
    facts = courier.Facts("/etc/courier", {}, {"pop3d": "Permission denied"})
    assert levels(courier.judge(facts, "off", TAGS)) == {"courier-cure": UNSEEN}


# The map

MAP = map_.Facts(
    "/var/lib/pbs-watch", owner="pbs-watch", writable=True, account="pbs-watch", free=10**10
)


def test_a_sound_map() -> None:
    assert set(levels(map_.judge(MAP)).values()) == {FINE}


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({"exists": False}, "map-there", WRONG),
        ({"hidden": "Permission denied"}, "map-there", UNSEEN),
        ({"writable": False}, "map-writable", WRONG),
        ({"writable": None}, "map-writable", UNSEEN),
        ({"read_only": True}, "map-writable", WRONG),
        ({"mode": 0o755}, "map-mode", WRONG),
        ({"mode": 0o700}, "map-mode", FINE),
        ({"strangers": ("data.mdb",)}, "map-owner", WRONG),
        ({"free": 10 << 20}, "map-space", WRONG),
        ({"free": 100 << 20}, "map-space", LOOK),
        ({"inodes": 0}, "map-space", WRONG),
        ({"inodes": 5}, "map-space", FINE),
        ({"filesystem": "nfs4"}, "map-filesystem", WRONG),
        ({"filesystem": "tmpfs"}, "map-filesystem", LOOK),
        ({"damage": "pages are missing"}, "map-whole", WRONG),
        ({"holds_map": False}, "map-whole", LOOK),
        ({"closed": True}, "map-whole", UNSEEN),
    ],
)
def test_a_map_that_cannot_be_kept(changes: dict[str, Any], check: str, level: Level) -> None:
    assert levels(map_.judge(replace(MAP, **changes)))[check] is level


# The port

PORT = port.Facts(
    "127.0.0.1:10041",
    listening=True,
    owner=7,
    uid=999,
    daemon=7,
    daemon_uid=999,
    answer="absent",
    seconds=0.001,
)


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({}, "port-ours", FINE),
        ({}, "port-answers", FINE),
        ({"listening": False}, "port-ours", WRONG),
        ({"owner": 8, "owner_name": "nc"}, "port-ours", WRONG),
        ({"owner": None}, "port-ours", FINE),
        ({"owner": None, "uid": 1000}, "port-ours", WRONG),
        ({"owner": None, "uid": None}, "port-ours", UNSEEN),
        ({"daemon": None}, "port-ours", UNSEEN),
        ({"answer": "found"}, "port-answers", WRONG),
        ({"answer": "trouble"}, "port-answers", WRONG),
        ({"answer": "", "said": "220 mail ESMTP"}, "port-answers", WRONG),
        ({"answer": "", "why": "timed out"}, "port-answers", WRONG),
        ({"seconds": 2.0}, "port-answers", LOOK),
    ],
)
def test_the_port(changes: dict[str, Any], check: str, level: Level) -> None:
    assert levels(port.judge(replace(PORT, **changes)))[check] is level


# The daemon


def state(**changes: Any) -> Any:
    source = {"name": "/var/log/mail.log", "lines": 5, "readable": True}
    raw = {
        "version": "1",
        "pid": 7,
        "map": {"path": "/var/lib/pbs-watch"},
        "settings": {"digests": {"window": "a1", "metrics": "b2"}},
        "sources": [source],
        **changes,
    }
    return taken(json.loads(json.dumps(raw)))


WANTED = daemon.Wanted("1", {"window": "a1", "metrics": "b2"}, ["metrics"])


def of_daemon(wanted: daemon.Wanted | None = WANTED, **changes: Any) -> dict[str, Level]:
    facts = daemon.Facts("/var/lib/pbs-watch", state(**changes), uid=999, account="pbs-watch")
    return levels(daemon.judge(facts, wanted))


def test_a_daemon_that_is_well() -> None:
    assert set(of_daemon().values()) == {FINE}


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({"sources": [{"name": "/x", "readable": False}]}, "daemon-reads", WRONG),
        ({"sources": [{"name": "/x", "readable": True, "lag": 99.0}]}, "daemon-reads", LOOK),
        ({"sources": [{"name": "/x", "readable": True, "searching": True}]}, "daemon-reads", LOOK),
        ({"settings": {}}, "daemon-settings", LOOK),
        ({"version": "0"}, "daemon-settings", LOOK),
        ({"map": {"error": "broken"}}, "daemon-map", WRONG),
        ({"near": 3}, "daemon-near", WRONG),
        ({"refused": {"future": 50}}, "daemon-refused", LOOK),
        ({"warnings": 1, "last_warning": "x"}, "daemon-warned", LOOK),
    ],
)
def test_a_daemon_that_is_not(changes: dict[str, Any], check: str, level: Level) -> None:
    assert of_daemon(**changes)[check] is level
    assert check in {"daemon-settings", "daemon-reads"} or check not in of_daemon()


def test_other_settings_are_named_with_what_takes_them() -> None:
    """All of them are compared: each by a digest that the daemon tells."""

    def said(window: str, metrics: str) -> str:
        told = state(settings={"digests": {"window": window, "metrics": metrics}})
        facts = daemon.Facts("/m", told, uid=999, account="pbs-watch")
        return next(
            str(one) for one in daemon.judge(facts, WANTED) if one.check == "daemon-settings"
        )

    assert "it goes by the settings that doctor reads" in said("a1", "b2")
    assert "reads: window; pbs-watch reload" in said("f0", "b2")
    assert "reads: window, metrics; restart it" in said("f0", "f0")


def test_who_runs_the_daemon() -> None:
    known = daemon.Facts("/m", state(), uid=0, account="root")
    assert levels(daemon.judge(known, None))["daemon-user"] is WRONG
    unknown = replace(known, uid=None)
    assert levels(daemon.judge(unknown, None))["daemon-user"] is UNSEEN


def test_no_daemon_and_one_that_may_not_be_asked() -> None:
    absent = daemon.Facts("/m", None, "/m/live: no running daemon answers")
    assert levels(daemon.judge(absent, WANTED)) == {"daemon-runs": WRONG}
    assert levels(daemon.judge(replace(absent, hidden=True), WANTED)) == {"daemon-runs": UNSEEN}


# The settings


def of_settings(**changes: Any) -> dict[str, Level]:
    names = {"trouble", "patterns", "kernel", "mail_ports"}
    facts = {name: changes.pop(name) for name in names & set(changes)}
    return levels(settings.judge(settings.Facts(Config(**changes), **facts)))


def test_the_defaults_are_sensible() -> None:
    assert set(of_settings().values()) == {FINE}


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({"trouble": "x.toml:1:1: not TOML"}, "settings", WRONG),
        ({"patterns": "x.pattern:1:1: unknown word"}, "settings-patterns", WRONG),
        ({"window": 86400.0, "session_limit": 86400.0}, "settings-window", LOOK),
        ({"windows": {"@example.org": 10.0}}, "settings-window", LOOK),
        ({"session_limit": 60.0}, "settings-window", LOOK),
        ({"shadow": True}, "settings-shadow", LOOK),
        ({"answer": "DUNNO"}, "settings-answer", LOOK),
        ({"tcp_table": ("192.0.2.1:10041",)}, "settings-remote", LOOK),
        ({"witness": "hold", "mail_ports": frozenset()}, "settings-witness", WRONG),
        ({"witness": "require", "mail_ports": frozenset({110})}, "settings-witness", FINE),
        ({"witness": "alarm", "kernel": "no AF_NETLINK"}, "settings-witness", WRONG),
    ],
)
def test_settings_worth_a_word(changes: dict[str, Any], check: str, level: Level) -> None:
    assert of_settings(**changes)[check] is level


# The host

OWN = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.5")]
GATEWAY = [ipaddress.ip_network("10.0.0.1")]


def of_host(facts: host.Facts, *never: str, only: tuple[str, ...] = ()) -> dict[str, Level]:
    return levels(
        host.judge(facts, Networks([*map(network, never)]), Networks([*map(network, only)]))
    )


BEHIND = host.Facts(OWN, GATEWAY)
PUBLIC = host.Facts([OWN[0], ipaddress.ip_network("8.8.8.8")], [ipaddress.ip_network("8.8.8.1")])


@pytest.mark.parametrize(
    ("facts", "never", "gateway", "own"),
    [
        (BEHIND, (), WRONG, LOOK),
        (BEHIND, ("10.0.0.1",), FINE, LOOK),
        (BEHIND, ("10.0.0.0/8", "127.0.0.0/8"), FINE, FINE),
        (replace(BEHIND, logins={b"10.0.0.1": 3}), ("10.0.0.0/8",), LOOK, LOOK),
        (PUBLIC, (), LOOK, LOOK),
        (replace(PUBLIC, container="docker"), (), WRONG, LOOK),
        (replace(PUBLIC, logins={b"8.8.8.1": 1}), (), WRONG, LOOK),
        (replace(PUBLIC, gateways=()), ("8.8.8.8", "127.0.0.0/8"), FINE, FINE),
    ],
)
def test_a_gateway_that_stands_for_everybody(
    facts: host.Facts, never: tuple[str, ...], gateway: Level, own: Level
) -> None:
    assert of_host(facts, *never) == {"host-gateway": gateway, "host-own": own}


def test_what_is_not_in_only_need_not_be_in_never() -> None:
    found = of_host(BEHIND, only=("198.18.0.0/15",))
    assert found == {"host-gateway": FINE, "host-own": FINE}


def test_a_gateway_that_postfix_trusts() -> None:
    trusting = replace(BEHIND, relaying=[ipaddress.ip_network("10.0.0.0/8")])
    assert of_host(trusting)["host-mynetworks"] is LOOK
    assert of_host(replace(trusting, container="docker"))["host-mynetworks"] is WRONG
    assert "host-mynetworks" not in of_host(replace(BEHIND, relaying=OWN))


def test_a_log_that_went_quiet_when_its_syslog_daemon_was_removed() -> None:
    facts = followed(login("198.18.0.1", at=NOW - 9e5), modified=NOW - 9e5)
    assert "journal" not in cures(of_log(facts), "log-fresh")
    gone = replace(facts, journald=True, syslogd=False)
    assert "--log journal:" in cures(of_log(gone), "log-fresh")
