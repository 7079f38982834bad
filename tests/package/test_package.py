"""The Debian package in a clean Debian: installed, upgraded, removed and purged."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from pbs_watch import __version__
from tests.package.conftest import OLDER
from tests.package.root import ROOT, Root

STORY_OF_AN_UPGRADE = Path(__file__).with_name("story_of_an_upgrade.py").read_text()
STORY_OF_COURIER = Path(__file__).with_name("story_of_courier.py").read_text()

CONFIG = "etc/pbs-watch/pbs-watch.toml"
EXAMPLE = "usr/share/pbs-watch/pbs-watch.toml"
MAIN_CF = "etc/postfix/main.cf"
TABLE = "tcp:127.0.0.1:10041"
INSTALLED = "permit_mynetworks permit_sasl_authenticated defer_unauth_destination"
ASKING = INSTALLED.replace("defer_", f"permit_auth_destination check_client_access {TABLE} defer_")

STAY = {
    # Debian's practice: users stay, since files of theirs may be anywhere.
    "etc/group", "etc/group-", "etc/gshadow", "etc/gshadow-", "etc/passwd", "etc/passwd-",
    "etc/shadow", "etc/shadow-", "etc/.pwd.lock",
    # The books of dpkg, debconf and ucf.
    "var/lib/dpkg/diversions-old", "var/lib/dpkg/lock", "var/lib/dpkg/status",
    "var/lib/dpkg/status-old", "var/lib/dpkg/triggers/Lock", "var/lib/dpkg/triggers/Unincorp",
    "var/lib/ucf/cache", "var/lib/ucf/hashfile", "var/lib/ucf/registry",
    *(f"var/lib/ucf/{kind}.{old}" for kind in ("hashfile", "registry") for old in range(9)),
}  # fmt: skip


def left(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """What is not as it was."""
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)} - STAY


def effective(root: Root) -> str:
    listed = root.run("postconf -xh smtpd_relay_restrictions")
    return " ".join(listed.splitlines()[0].replace(",", " ").split())


def settings(root: Root) -> dict[str, object]:
    return tomllib.loads(root.read(CONFIG))


def test_lintian_has_nothing_to_object() -> None:
    changes = next((ROOT / "dist").glob(f"pbs-watch_{__version__}_*.changes"))
    done = subprocess.run(
        ["lintian", "--allow-root", "--display-info", "--pedantic",
         "--fail-on", "error,warning", changes],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_installed_without_questions_and_purged(root: Root) -> None:
    main_cf, before = root.read(MAIN_CF), root.files()
    said = root.dpkg("--install", "/packages/new.deb")

    assert root.read(CONFIG) == root.read(EXAMPLE), "the answers are the defaults"
    assert root.read(MAIN_CF) == main_cf, "the change is shown, not made"
    assert "pbs_watch_relay = permit_auth_destination, check_client_access" in said
    assert f"pbs-watch {__version__}" in root.run("pbs-watch --version")
    owner = root.run("stat -c '%U:%G %a' /var/lib/pbs-watch").splitlines()[0]
    assert owner == "pbs-watch:pbs-watch 750"
    for page in ("8 pbs-watch", "5 pbs-watch.toml", "5 pbs-watch-patterns"):
        assert "/usr/share/man/" in root.run(f"man -w {page}")

    root.write("var/tmp/answers", (ROOT / "packaging/debian/tests/answers").read_text())
    assert "replayed a log and answered a lookup" in root.run("sh /var/tmp/answers")

    config = root.read(CONFIG)
    root.write("var/lib/pbs-watch/data.mdb", "a map")
    root.dpkg("--remove", "pbs-watch")
    assert root.read(CONFIG) == config
    assert root.exists("var/lib/pbs-watch/data.mdb")
    assert not root.exists("usr/bin/pbs-watch")
    assert not root.exists("usr/lib/python3/dist-packages/pbs_watch")

    root.dpkg("--purge", "pbs-watch")
    assert left(before, root.files()) == set()
    assert "pbs-watch" not in root.run("debconf-show pbs-watch")
    assert "pbs-watch" not in root.read("var/lib/ucf/hashfile")


def test_answers_count_and_survive(root: Root) -> None:
    main_cf, before = root.read(MAIN_CF), root.files()
    root.answer(log="journal:", window="1h", postfix="apply", courier="apply")
    root.dpkg("--install", "/packages/old.deb")
    expected = {"log": ["journal:"], "window": "1h", "never": ["own", "gateway"]}
    assert settings(root) == expected
    assert "older one's words" in root.read(CONFIG)
    assert effective(root) == ASKING
    assert "-stderrloggername=pop3d-ssl" in root.read("etc/courier/pop3d-ssl")

    # A new version, whose example has other words: nothing to ask about.
    root.dpkg("--install", "/packages/new.deb")
    assert settings(root) == expected
    assert "older one's words" not in root.read(CONFIG)
    assert effective(root) == ASKING

    # Meanwhile the administrator changes something else.
    root.run("postconf -e 'mydestination = here.example'")
    root.dpkg("--remove", "pbs-watch")
    assert settings(root) == expected
    assert root.read(MAIN_CF).splitlines() == [
        "mydestination = here.example" if line.startswith("mydestination") else line
        for line in main_cf.splitlines()
    ]
    assert root.run("dpkg --verify courier-imap courier-pop").strip() == ""

    # Installed again, the answers count again; purged, there is nothing.
    root.dpkg("--install", "/packages/new.deb")
    assert settings(root) == expected
    assert effective(root) == ASKING
    root.dpkg("--purge", "pbs-watch")
    assert left(before, root.files()) == {MAIN_CF}
    assert effective(root) == INSTALLED


def test_what_the_administrator_writes_stays(root: Root) -> None:
    before = root.files()
    root.answer(window="1h")
    root.dpkg("--install", "/packages/old.deb")
    mine = root.read(CONFIG).replace('window = "1h"', 'window="2h"  # mine') + "\nprefix = 64\n"
    root.write(CONFIG, mine)
    root.dpkg("--install", "/packages/new.deb")
    assert root.read(CONFIG) == mine
    root.run("dpkg-reconfigure --frontend=noninteractive pbs-watch")
    assert root.read(CONFIG) == mine
    # A file that he removed stays away.
    root.run(f"rm /{CONFIG}")
    root.dpkg("--install", "/packages/old.deb")
    assert not root.exists(CONFIG)
    root.dpkg("--purge", "pbs-watch")
    assert left(before, root.files()) == set()


def test_a_setting_that_is_written_over_several_lines_stays(root: Root) -> None:
    root.answer(log="/var/log/courier.log", window="1h")
    root.dpkg("--install", "/packages/old.deb")
    written = '[\n  "/var/log/courier.log", # "first"\n  "journal:",\n]'
    mine = root.read(CONFIG).replace('["/var/log/courier.log"]', written)
    assert mine.count("journal:") > 1
    root.write(CONFIG, mine)
    root.dpkg("--install", "/packages/new.deb")
    root.run("dpkg-reconfigure --frontend=noninteractive pbs-watch")
    assert root.read(CONFIG) == mine


def test_what_the_administrator_undoes_stays_undone(root: Root) -> None:
    root.answer(postfix="apply")
    root.dpkg("--install", "/packages/old.deb")
    root.run("pbs-watch setup postfix --undo")
    assert effective(root) == INSTALLED
    root.dpkg("--install", "/packages/new.deb")
    assert effective(root) == INSTALLED


ANSWERING = """\
#!/bin/sh
# The first answer is not understood, so the question comes again.
if [ -e /var/tmp/asked ]; then window=3h; else window=soon; fi
if grep -q '^pbs-watch/window=' "$1"; then echo "$window" >>/var/tmp/asked; fi
sed -i -e "s|^pbs-watch/window=.*|pbs-watch/window=\\"$window\\"|" \\
  -e "s|^pbs-watch/postfix=.*|pbs-watch/postfix=\\"$POSTFIX\\"|" "$1"
"""


def asked_again(root: Root, postfix: str) -> str:
    return root.run(
        "script -qec 'dpkg-reconfigure --frontend=editor --priority=low pbs-watch' /dev/null",
        VISUAL="/usr/local/bin/answering", EDITOR="/usr/local/bin/answering", TERM="dumb",
        POSTFIX=postfix,
    )  # fmt: skip


def test_asked_again(root: Root) -> None:
    root.dpkg("--install", "/packages/new.deb")
    root.write(CONFIG, root.read(CONFIG) + "\n# mine\n")
    root.write("usr/local/bin/answering", ANSWERING)
    root.run("chmod 755 /usr/local/bin/answering")

    said = asked_again(root, "apply")
    assert root.read("var/tmp/asked").split() == ["soon", "3h"], said
    assert settings(root)["window"] == "3h", said
    assert root.read(CONFIG).endswith("\n# mine\n")
    assert effective(root) == ASKING

    asked_again(root, "show")
    assert effective(root) == INSTALLED


@pytest.mark.parametrize("said", ["soon", '1h"\nprefix = 64', ""])
def test_an_answer_that_cannot_be_is_not_written(root: Root, said: str) -> None:
    root.answer(window=said.replace("\n", "\\n"))
    root.dpkg("--install", "/packages/new.deb")
    assert root.read(CONFIG) == root.read(EXAMPLE)
    assert "settings: fine" in root.run("pbs-watch check")


def test_a_cured_courier_writes_no_forged_login(root: Root) -> None:
    root.dpkg("--install", "/packages/new.deb")
    root.write("story.py", STORY_OF_COURIER)
    before, after = map(json.loads, root.run("python3 /story.py").splitlines())
    assert [line for line in before if line.startswith("LOGIN, user=x, ip=[::ffff:127.0.0.1]")]
    assert [line for line in after if line.startswith("LOGIN FAILED, user=AAA")]
    assert not [line for line in after if "user=x" in line]


def test_with_systemd_the_ports_stay_open_during_an_upgrade(root: Root) -> None:
    root.answer(postfix="apply")
    seen = root.boot(STORY_OF_AN_UPGRADE)
    assert seen["installed"] == {"service": "active", "socket": "active", "reply": "200 OK\n"}
    assert seen["versions"] == [OLDER, __version__]
    assert seen["processes"] == 2, "the new version runs"
    asked = seen["upgrading"]
    assert asked["answered"] > 50
    assert asked["refused"] == asked["wrong"] == []
    assert seen["removed"] == {"refused": True, "relay": False}
    assert seen["effective"] == [ASKING, INSTALLED]
