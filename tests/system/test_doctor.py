"""``doctor`` on the words of real Postfix: each mistake is found, and a sound set-up passes.

``postconf`` and ``postmap`` are Postfix's own, on configurations in a folder; no Postfix runs.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch.doctor import mail, postfix
from pbs_watch.doctor.finding import Finding
from pbs_watch.doctor.places import Places
from pbs_watch.doctor.restrictions import Ours
from tests.daemon import command
from tests.sound import Sound, set_up

LEVELS = ("fine", "look", "unseen", "wrong")
RELAY = (
    "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated,\n"
    "  permit_auth_destination, check_client_access {table},\n"
    "  reject_unauth_destination\n"
)
MAIN = (
    "compatibility_level = 3.6\nmydestination = inbound.example\nmynetworks = 127.0.0.0/8\n" + RELAY
)
MASTER = """\
smtp inet n - y - - smtpd
submission inet n - y - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_relay_restrictions=
  -o {{ smtpd_recipient_restrictions = permit_sasl_authenticated,
       check_client_access {table}, reject }}
pickup unix n - y 60 1 pickup
"""
TCP = "tcp:127.0.0.1:10041"
UNIX = "socketmap:unix:/run/pbs-watch:relay"
OURS = Ours(("127.0.0.1:10041",), ("unix:/var/spool/postfix/run/pbs-watch",))


@pytest.fixture
def sound() -> Iterator[Sound]:
    """A sound host with a Postfix, in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="pbs-watch-doctor-") as name:
        Path(name).chmod(0o755)
        made = set_up(Path(name))
        write(made.root / "etc/postfix", table=f"tcp:127.0.0.1:{made.port}")
        yield made


def write(etc: Path, *, table: str = TCP, main: str = MAIN, master: str = MASTER) -> None:
    """A configuration of Postfix."""
    etc.mkdir(exist_ok=True, parents=True)
    # Without a name of its own it would ask the resolver for one.
    (etc / "main.cf").write_text("myhostname = mx.inbound.example\n" + main.format(table=table))
    (etc / "master.cf").write_text(master.format(table=table))
    shutil.copy("/etc/postfix/dynamicmaps.cf", etc)


def judged(etc: Path, ours: Ours = OURS) -> list[Finding]:
    """What is said of the configuration in a folder."""
    facts = mail.facts(Places(postfix=etc))
    assert facts.why == ""
    return list(postfix.judge(facts, ours))


def levels(findings: list[Finding]) -> dict[str, str]:
    """The worst level of each check."""
    found: dict[str, str] = {}
    for one in findings:
        worst = found.get(one.check, "fine")
        found[one.check] = max(worst, one.level.value, key=LEVELS.index)
    return found


def told(sound: Sound, *words: str, status: int) -> dict[str, str]:
    ended = command("doctor", "--json", *sound.words, *words)
    assert (ended.status, ended.err) == (status, ""), ended.out.decode()
    found: dict[str, str] = {}
    for one in json.loads(ended.out)["findings"]:
        worst = found.get(one["check"], "fine")
        found[one["check"]] = max(worst, one["level"], key=LEVELS.index)
    return found


def test_a_sound_host_with_its_postfix_passes(sound: Sound) -> None:
    with sound.daemon():
        found = told(sound, status=0)
    fine = {name for name, level in found.items() if level == "fine"}
    assert fine >= {
        "postfix-asks",
        "postfix-order",
        "postfix-submission",
        "postfix-screens",
        "postfix-tables",
        "postfix-lookup",
        "courier-cure",
        "syslog-split",
        "port-ours",
        "daemon-user",
        "map-whole",
    }
    assert set(found.values()) == {"fine"}


@pytest.mark.parametrize("table", [TCP, f"proxy:{TCP}", UNIX, f"proxy:{UNIX}"])
def test_each_way_of_asking_as_readme_shows_it(tmp_path: Path, table: str) -> None:
    # What proxymap may read is written out of the lists of main.cf alone.
    if table.startswith("proxy:socketmap"):
        table = table.replace("/run", "/var/spool/postfix/run")
    write(tmp_path, table=table)
    assert set(levels(judged(tmp_path)).values()) == {"fine"}


def test_postfix_as_debian_installs_it_does_not_ask(tmp_path: Path) -> None:
    debian = "smtpd_relay_restrictions = permit_mynetworks defer_unauth_destination\n"
    write(tmp_path, main=debian, master="smtp inet n - y - - smtpd\n")
    found = judged(tmp_path)
    assert levels(found) == {"postfix-asks": "wrong", "postfix-submission": "look"}
    assert RELAY.replace("\n ", "").strip().format(table=TCP) in found[0].cure


def test_the_line_that_is_told_is_sound(tmp_path: Path) -> None:
    line = postfix.line_for(postfix.suggested(OURS)).removeprefix("write in main.cf: ")
    write(tmp_path, main=line + "\n")
    assert levels(judged(tmp_path))["postfix-order"] == "fine"


AUTH = "permit_auth_destination, "
CHECK = "check_client_access {table},"
LAST = "\n  reject_unauth_destination"
RECIPIENT = "smtpd_recipient_restrictions = "


@pytest.mark.parametrize(
    ("old", "new", "check", "level"),
    [
        # The order
        (AUTH, "", "postfix-order", "wrong"),
        (AUTH + CHECK + LAST, CHECK + " permit_auth_destination," + LAST, "postfix-order", "wrong"),
        (CHECK + LAST, "reject_unauth_destination, " + CHECK[:-1], "postfix-order", "wrong"),
        (AUTH, AUTH + "permit, ", "postfix-order", "wrong"),
        (LAST, "", "postfix-order", "wrong"),
        (LAST, "\n  defer_unauth_destination", "postfix-order", "fine"),
        (LAST, "\n" + RECIPIENT + "reject_unauth_destination", "postfix-order", "look"),
        ("check_client", "check_sender", "postfix-order", "wrong"),
        (CHECK, "warn_if_reject " + CHECK, "postfix-warn", "wrong"),
        # As the old manual had it
        (RELAY, RECIPIENT + CHECK + " reject_unauth_destination\n", "postfix-list", "wrong"),
        (LAST, LAST + "\n" + RECIPIENT + CHECK[:-1], "postfix-list", "wrong"),
        (LAST, LAST + "\n" + RECIPIENT + AUTH + CHECK[:-1], "postfix-list", "look"),
        (LAST, LAST + "\nsmtpd_client_restrictions = " + CHECK[:-1], "postfix-list", "wrong"),
        # As before Postfix 2.10, and sound
        (
            RELAY,
            "smtpd_relay_restrictions =\n" + RECIPIENT + AUTH + CHECK + LAST + "\n",
            "postfix-order",
            "fine",
        ),
        # Other places
        (LAST, LAST + "\nmynetworks = 127.0.0.0/8, {table}", "postfix-elsewhere", "wrong"),
        (LAST, LAST + "\npostscreen_access_list = {table}", "postfix-elsewhere", "wrong"),
        # What granted clients meet
        (LAST, LAST + "\n" + RECIPIENT + "reject_rbl_client zen", "postfix-screens", "look"),
        (
            LAST,
            LAST + "\n" + RECIPIENT + "check_policy_service inet:127.0.0.1:10023",
            "postfix-screens",
            "look",
        ),
        (
            LAST,
            LAST + "\nsmtpd_helo_restrictions = reject_unknown_helo_hostname",
            "postfix-screens",
            "look",
        ),
        # Tables
        ("{table}", "socketmap:inet:127.0.0.1:10041:relay", "postfix-asks", "fine"),
        ("{table}", "tcp:127.0.0.1:10042", "postfix-order", "absent"),
        ("{table}", "tcp:localhost:10041", "postfix-chroot", "look"),
        ("{table}", "socketmap:unix:/run/pbs-watch:other", "postfix-tables", "wrong"),
        ("{table}", "socketmap:unix:/var/spool/postfix/run/pbs-watch:relay",
         "postfix-chroot", "wrong"),
        # Restriction classes are looked into
        (
            "check_client_access {table},",
            "ours,",
            "postfix-order",
            "fine",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_main_cf(tmp_path: Path, old: str, new: str, check: str, level: str) -> None:
    assert old in MAIN
    main = MAIN.replace(old, new)
    if new == "ours,":
        main += "smtpd_restriction_classes = ours\nours = check_client_access {table}\n"
    ours = OURS
    if "socketmap:inet" in new:
        ours = Ours((), ("127.0.0.1:10041",))
    write(tmp_path, main=main)
    assert levels(judged(tmp_path, ours)).get(check, "absent") == level


@pytest.mark.parametrize(
    ("old", "new", "check", "level"),
    [
        ("  -o smtpd_relay_restrictions=\n", "", "postfix-submission", "fine"),
        (
            "smtpd_relay_restrictions=\n",
            "smtpd_relay_restrictions=permit_sasl_authenticated,reject\n",
            "postfix-submission",
            "wrong",
        ),
        (
            "smtpd_relay_restrictions=\n",
            "smtpd_relay_restrictions=\n  -o smtpd_client_restrictions=reject\n",
            "postfix-submission",
            "wrong",
        ),
        (", reject }}", " }}", "postfix-submission", "wrong"),
        ("check_client_access {table}, reject", "reject", "postfix-submission", "look"),
        (
            "permit_sasl_authenticated,\n       check_client_access {table}, reject",
            "reject, check_client_access {table}",
            "postfix-submission",
            "wrong",
        ),
        ("check_client_access {table}", "warn_if_reject check_client_access {table}",
         "postfix-warn", "wrong"),
        ("submission inet n - y", "submission inet n - n", "postfix-submission", "fine"),
        ("submission inet", "10587 inet", "postfix-submission", "look"),
    ],
)  # fmt: skip
def test_mistakes_in_master_cf(tmp_path: Path, old: str, new: str, check: str, level: str) -> None:
    assert old in MASTER
    write(tmp_path, master=MASTER.replace(old, new))
    assert levels(judged(tmp_path))[check] == level


def test_port_25_need_not_ask_where_submission_does(tmp_path: Path) -> None:
    without = "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
    write(tmp_path, main=without)
    found = levels(judged(tmp_path))
    assert found["postfix-asks"] == found["postfix-submission"] == "fine"
    assert "postfix-order" not in found


def test_the_chroot_decides_where_a_socket_must_lie(tmp_path: Path) -> None:
    free = MASTER.replace("inet n - y", "inet n - n")
    write(tmp_path, table=UNIX, master=free)
    found = judged(tmp_path)
    assert levels(found)["postfix-chroot"] == "wrong"
    cure = next(one.cure for one in found if one.check == "postfix-chroot")
    assert "socketmap:unix:/var/spool/postfix/run/pbs-watch:relay" in cure
    right = "socketmap:unix:/var/spool/postfix/run/pbs-watch:relay"
    write(tmp_path, table=right, master=free)
    assert levels(judged(tmp_path))["postfix-chroot"] == "fine"
    # In the chroot, and our socket outside of it.
    write(tmp_path, table=UNIX)
    outside = Ours((), ("unix:/run/pbs-watch",))
    found = judged(tmp_path, outside)
    assert levels(found)["postfix-chroot"] == "wrong"
    assert "unix:/var/spool/postfix/run/pbs-watch" in next(
        one.cure for one in found if one.check == "postfix-chroot"
    )


def test_proxymap_reads_what_it_is_allowed_to(tmp_path: Path) -> None:
    write(tmp_path, table=f"proxy:{TCP}", main=MAIN + "proxy_read_maps =\n")
    assert levels(judged(tmp_path))["postfix-tables"] == "wrong"
    write(tmp_path, table=f"proxy:{TCP}", main=MAIN + f"proxy_read_maps = proxy:{TCP}\n")
    assert levels(judged(tmp_path))["postfix-tables"] == "fine"


def test_a_configuration_that_postfix_cannot_read_is_unseen(tmp_path: Path) -> None:
    write(tmp_path, master="smtp inet\n")
    facts = mail.facts(Places(postfix=tmp_path))
    assert facts.why
    assert levels(list(postfix.judge(facts, OURS))) == {"postfix-asks": "unseen"}


def test_a_mistake_fails_and_postmap_is_not_waited_for_without_a_daemon(sound: Sound) -> None:
    sound.change("etc/postfix/main.cf", "permit_auth_destination, ", "")
    with sound.daemon():
        assert told(sound, status=1)["postfix-order"] == "wrong"
    found = told(sound, status=1)
    assert "postfix-lookup" not in found
    assert found["port-ours"] == "wrong"


def test_debians_own_files_with_what_readme_changes_in_them_pass(sound: Sound) -> None:
    etc = sound.root / "etc"
    shutil.rmtree(etc)
    for name in ("courier", "rsyslog.d", "logrotate.d", "postfix"):
        shutil.copytree(f"/etc/{name}", etc / name)
    for name in ("rsyslog.conf", "logrotate.conf"):
        shutil.copy(f"/etc/{name}", etc)
    for name in ("rsyslog.conf", "logrotate.d/rsyslog"):
        text = (etc / name).read_text()
        assert "/var/log/mail.log" in text
        (etc / name).write_text(text.replace("/var/log/mail.log", str(sound.log)))
    with sound.daemon():
        assert told(sound, status=1)["courier-cure"] == "wrong"  # with cuts = "off"
        for name in ("pop3d", "pop3d-ssl", "imapd", "imapd-ssl"):
            with (etc / "courier" / name).open("a") as file:
                file.write(
                    'TCPDOPTS="-nodnslookup -noidentlookup '
                    f'-stderrlogger=/usr/sbin/courierlogger -stderrloggername={name}"\n'
                )
        found = told(sound, status=1)
        assert {name for name, level in found.items() if level == "wrong"} == {"postfix-asks"}
        table = f"tcp:127.0.0.1:{sound.port}"
        with (etc / "postfix/main.cf").open("a") as file:
            file.write(RELAY.format(table=table))
        found = told(sound, status=0)
        assert found["postfix-warnings"] == "look"  # it stands there twice now
        (etc / "postfix/main.cf").write_text(
            re.sub(
                r"(?m)^smtpd_relay_restrictions = permit_mynetworks permit_.*\n",
                "",
                (etc / "postfix/main.cf").read_text(),
            )
        )
        with (etc / "postfix/master.cf").open("a") as file:
            file.write(MASTER.format(table=table).partition("\n")[2].replace("pickup", "# "))
        found = told(sound, status=0)
    assert set(found.values()) == {"fine"}, found
