"""``setup postfix`` on a main.cf of its own, by the real postconf: inserted, and exactly undone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.daemon import command, refused

TABLE = "tcp:127.0.0.1:10041"
CHECK = f"check_client_access {TABLE}"

DEBIAN = """\
# Debian's comment
compatibility_level = 3.6
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
# another
mydestination = here.example
"""

MASTER_CF = """\
smtp inet n - y - - smtpd
submission inet n - y - - smtpd
  -o smtpd_relay_restrictions=
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.cf").write_text(DEBIAN)
    (tmp_path / "master.cf").write_text(MASTER_CF)
    shutil.copy("/etc/postfix/dynamicmaps.cf", tmp_path)
    return tmp_path


def setup(folder: Path, *words: str) -> list[str]:
    ended = command("setup", "postfix", "--postfix-config", folder, *words)
    assert (ended.status, ended.err) == (0, "")
    return ended.lines


def postconf(folder: Path, *words: str) -> str:
    ended = subprocess.run(
        ["postconf", "-c", folder, *words], capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def effective(folder: Path) -> str:
    return " ".join(postconf(folder, "-xh", "smtpd_relay_restrictions").replace(",", " ").split())


def test_shown_only(folder: Path) -> None:
    lines = setup(folder)
    assert lines[0] == f"pbs_watch_relay = permit_auth_destination, {CHECK}"
    assert lines[1].endswith("permit_sasl_authenticated $pbs_watch_relay defer_unauth_destination")
    assert "submission/inet/smtpd_recipient_restrictions" in lines[3]
    assert (folder / "main.cf").read_text() == DEBIAN


def test_applied_and_undone(folder: Path) -> None:
    for _ in range(2):  # the second time there is nothing to do
        setup(folder, "--apply")
        assert effective(folder) == (
            "permit_mynetworks permit_sasl_authenticated "
            f"permit_auth_destination {CHECK} defer_unauth_destination"
        )
    assert "taken out" in setup(folder, "--undo")[0]
    assert (folder / "main.cf").read_text() == DEBIAN
    assert "nothing of ours" in setup(folder, "--undo")[0]


def test_undone_although_other_things_were_changed(folder: Path) -> None:
    setup(folder, "--apply")
    postconf(folder, "-e", "mydestination = elsewhere.example", "mynetworks = 127.0.0.0/8")
    text = (folder / "main.cf").read_text()
    (folder / "main.cf").write_text(
        text.replace("permit_mynetworks permit_sasl", "permit_mynetworks, sleep 1, permit_sasl")
    )
    setup(folder, "--undo")
    assert (folder / "main.cf").read_text() == DEBIAN.replace("here", "elsewhere").replace(
        "permit_mynetworks permit_sasl", "permit_mynetworks, sleep 1, permit_sasl"
    ) + ("mynetworks = 127.0.0.0/8\n")


def test_a_list_that_main_cf_does_not_say(folder: Path) -> None:
    text = "compatibility_level = 3.6\nmydestination = here.example\n"
    (folder / "main.cf").write_text(text)
    setup(folder, "--apply")
    assert effective(folder) == (
        "permit_mynetworks permit_sasl_authenticated "
        f"permit_auth_destination {CHECK} defer_unauth_destination"
    )
    setup(folder, "--undo")
    assert (folder / "main.cf").read_text() == text


def test_a_list_over_several_lines_means_the_same_afterwards(folder: Path) -> None:
    (folder / "main.cf").write_text(
        "smtpd_relay_restrictions =\n  permit_mynetworks,\n# why\n  permit_auth_destination\n"
        "  reject_unauth_destination\nmydestination = here.example\n"
    )
    before = effective(folder)
    setup(folder, "--apply")
    assert effective(folder) == before.replace("reject_un", f"{CHECK} reject_un")
    setup(folder, "--undo")
    assert effective(folder) == before


def test_another_table_takes_the_place_of_ours(folder: Path) -> None:
    setup(folder, "--apply")
    setup(folder, "--apply", "--table", "tcp:127.0.0.1:20041")
    assert effective(folder).count("check_client_access") == 1
    assert "tcp:127.0.0.1:20041" in effective(folder)
    setup(folder, "--undo")
    assert (folder / "main.cf").read_text() == DEBIAN


def test_what_was_done_by_hand_stays(folder: Path) -> None:
    text = DEBIAN.replace("defer_un", f"permit_auth_destination {CHECK} defer_un")
    (folder / "main.cf").write_text(text)
    assert "already" in setup(folder, "--apply")[0]
    assert (folder / "main.cf").read_text() == text
    setup(folder, "--undo")
    assert (folder / "main.cf").read_text() == text


def test_our_word_elsewhere_means_nothing_any_more_and_is_named(folder: Path) -> None:
    setup(folder, "--apply")
    postconf(folder, "-e", "smtpd_recipient_restrictions = $pbs_watch_relay reject")
    ended = command("setup", "postfix", "--postfix-config", folder, "--undo")
    assert ended.status == 1
    assert ended.lines[-1].startswith("smtpd_recipient_restrictions: $pbs_watch_relay stands there")
    assert postconf(folder, "-xh", "smtpd_recipient_restrictions").split() == ["reject"]


def test_a_socket_in_the_chroot_of_smtpd(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "pbs-watch.toml"
    config.write_text('socketmap = ["unix:/var/spool/postfix/pbs-watch/relay"]\n')
    shown = setup(folder, "--config", str(config))[0]
    assert shown.endswith("check_client_access socketmap:unix:/pbs-watch/relay:relay")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("permit_mynetworks, reject", "before which to ask"),
        ("", "before which to ask"),
        ("warn_if_reject reject_unauth_destination", "strangers relay"),
        ("reject_unauth_destination, sleep 1", "sleep"),
        ("$mine", "before which to ask"),
    ],
)
def test_a_list_that_is_left_alone(folder: Path, value: str, reason: str) -> None:
    postconf(
        folder, "-e", f"smtpd_relay_restrictions = {value}", "mine = reject_unauth_destination"
    )
    before = (folder / "main.cf").read_text()
    said = refused("setup", "postfix", "--postfix-config", folder, "--apply")
    assert reason in said
    assert (folder / "main.cf").read_text() == before


def test_where_there_is_no_main_cf(folder: Path) -> None:
    (folder / "main.cf").unlink()
    assert "main.cf" in refused("setup", "postfix", "--postfix-config", folder, "--apply")
