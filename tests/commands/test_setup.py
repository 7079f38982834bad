"""``setup``: what is put into the settings of others, and taken out again (design.md, Commands)."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs_watch.errors import UsageError
from pbs_watch.setup import restrictions
from pbs_watch.setup.toml import change
from tests.daemon import ROOT, command, refused

TABLE = "tcp:127.0.0.1:10041"
CHECK = f"check_client_access {TABLE}"
EXAMPLE = ROOT / "packaging" / "pbs-watch.toml"

# --- smtpd_relay_restrictions -------------------------------------------------


def test_debians_list() -> None:
    value = "permit_mynetworks permit_sasl_authenticated defer_unauth_destination"
    made = restrictions.insert(value, value, TABLE)
    assert made.check == f"permit_auth_destination, {CHECK}"
    assert made.restrictions == (
        "permit_mynetworks permit_sasl_authenticated $pbs_watch_relay defer_unauth_destination"
    )
    assert restrictions.take_out(made.restrictions) == value


def test_permit_auth_destination_that_is_there_already() -> None:
    value = "permit_mynetworks, permit_auth_destination, reject_unauth_destination"
    made = restrictions.insert(value, value, TABLE)
    assert made.check == CHECK
    assert made.restrictions == (
        "permit_mynetworks, permit_auth_destination, $pbs_watch_relay, reject_unauth_destination"
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "before which to ask"),
        ("permit_mynetworks, reject", "before which to ask"),
        ("reject_unauth_destinations", "before which to ask"),
        ("permit_mynetworks, warn_if_reject reject_unauth_destination", "strangers relay"),
        (
            "reject_unauth_destination, check_policy_service inet:127.0.0.1:10023",
            "check_policy_serv",
        ),
        ("reject_unauth_destination, reject_rbl_client zen.example", "reject_rbl_client"),
    ],
)
def test_lists_that_are_left_alone(value: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        restrictions.insert(value, value, TABLE)


def test_what_stands_behind_the_end_is_reached_as_before_where_inbound_mail_was_permitted() -> None:
    value = "permit_auth_destination, reject_unauth_destination, reject_rbl_client zen.example"
    assert restrictions.insert(value, value, TABLE).check == CHECK


def test_an_end_inside_something_else_is_not_taken_for_the_lists() -> None:
    inner = "check_policy_service { a, default_action = {reject_unauth_destination} }"
    before = f"{inner} reject_unauth_destination"
    made = restrictions.insert(before, before, TABLE)
    inside = made.restrictions.replace("$pbs_watch_relay", made.check)
    # The caller looks at what Postfix makes of it, and refuses.
    assert not restrictions.stands(before, inside, made.check)


@pytest.mark.parametrize(
    "written", ["$pbs_watch_relay", "${pbs_watch_relay}", "$(pbs_watch_relay)"]
)
@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ("permit_mynetworks, {}, reject_unauth_destination, reject", None),
        ("{}, reject_unauth_destination", "reject_unauth_destination"),
        ("permit_mynetworks, {}", "permit_mynetworks"),
        ("{}", ""),
        ("a {} b", "a b"),
        ("a,{},b", "a,b"),
        ("{}, a, {}", "a"),
    ],
)
def test_taken_out_whatever_was_changed_meanwhile(
    written: str, changed: str, left: str | None
) -> None:
    value = changed.replace("{}", written)
    expected = "permit_mynetworks, reject_unauth_destination, reject" if left is None else left
    assert restrictions.take_out(value) == expected


def test_other_names_that_begin_like_ours_stay() -> None:
    assert restrictions.take_out("$pbs_watch_relay2, a") == "$pbs_watch_relay2, a"


NAMES = st.sampled_from(
    [
        "permit_mynetworks",
        "permit_sasl_authenticated",
        "permit_auth_destination",
        "$mine",
        "sleep 1",
    ]
)
SEPARATORS = st.sampled_from([",", ", ", " ", "  ", " ,", ",  "])


@given(st.lists(st.tuples(NAMES, SEPARATORS), max_size=5), st.sampled_from(restrictions._ENDS))
def test_what_was_inserted_is_taken_out_byte_for_byte(
    before: list[tuple[str, str]], end: str
) -> None:
    value = "".join(name + separator for name, separator in before) + end
    made = restrictions.insert(value, value, TABLE)
    assert restrictions.take_out(made.restrictions) == value
    inside = made.restrictions.replace("$pbs_watch_relay", made.check)
    assert restrictions.stands(value, inside, made.check)
    assert restrictions.asks(inside, TABLE)
    # Inbound mail is permitted before anybody is asked.
    assert inside.index("permit_auth_destination") < inside.index(CHECK)


# --- Courier ------------------------------------------------------------------

IMAPD = 'ADDRESS=0\n##NAME: TCPDOPTS:0\nTCPDOPTS="-nodnslookup -noidentlookup"\n'


@pytest.fixture
def courier(tmp_path: Path) -> Path:
    for name in ("imapd", "pop3d"):
        (tmp_path / name).write_text(IMAPD)
    (tmp_path / "imapd-ssl").write_text("SSLPORT=993\n")
    (tmp_path / "authdaemonrc").write_text(IMAPD)
    return tmp_path


def shell(*files: Path) -> str:
    """What TCPDOPTS is when a shell has read the files, as Courier's start scripts do."""
    words = " ".join(f". {path};" for path in files)
    ended = subprocess.run(
        ["sh", "-c", f'{words} printf %s "$TCPDOPTS"'], capture_output=True, text=True, check=True
    )
    return ended.stdout


def test_courier_is_cured_and_the_cure_undone(courier: Path) -> None:
    before = {path.name: path.read_bytes() for path in courier.iterdir()}
    shown = command("setup", "courier", "--courier-config", courier)
    assert shown.status == 0
    assert {path.name: path.read_bytes() for path in courier.iterdir()} == before
    for _ in range(2):  # the second time there is nothing to do
        assert command("setup", "courier", "--courier-config", courier, "--apply").status == 0
        assert shell(courier / "imapd") == (
            "-nodnslookup -noidentlookup "
            "-stderrlogger=/usr/sbin/courierlogger -stderrloggername=imapd"
        )
    assert shell(courier / "imapd", courier / "imapd-ssl").endswith("-stderrloggername=imapd-ssl")
    assert (courier / "authdaemonrc").read_text() == IMAPD
    with (courier / "pop3d").open("a") as file:
        file.write("MAXPERIP=20\n")  # the administrator's, meanwhile
    before["pop3d"] += b"MAXPERIP=20\n"
    assert command("setup", "courier", "--courier-config", courier, "--undo").status == 0
    assert {path.name: path.read_bytes() for path in courier.iterdir()} == before


def test_a_cure_by_hand_is_left_alone(courier: Path) -> None:
    mine = IMAPD.replace("-nodnslookup", "-stderrlogger=/usr/sbin/courierlogger -nodnslookup")
    (courier / "imapd").write_text(mine)
    for option in ("--apply", "--undo"):
        assert command("setup", "courier", "--courier-config", courier, option).status == 0
        assert (courier / "imapd").read_text() == mine


def test_where_there_is_no_courier(tmp_path: Path) -> None:
    said = refused("setup", "courier", "--courier-config", tmp_path)
    assert said.startswith(f"{tmp_path}: none of imapd")


# --- our own settings ---------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pbs-watch.toml"
    path.write_bytes(EXAMPLE.read_bytes())
    return path


def test_settings_are_set_and_taken_out(config: Path) -> None:
    said = ("log=journal:,/var/log/mail.log", "window=1h", "prefix=64", "allow_remote=true")
    assert command("setup", "config", "--config", config, *said).status == 0
    assert tomllib.loads(config.read_text()) == {
        "log": ["journal:", "/var/log/mail.log"],
        "window": "1h",
        "never": ["own", "gateway"],
        "prefix": 64,
        "allow_remote": True,
    }
    assert '#window = "30m"\nwindow = "1h"\n' in config.read_text()
    said = ("log=", "window=", "prefix=", "allow_remote=")
    assert command("setup", "config", "--config", config, *said).status == 0
    assert config.read_bytes() == EXAMPLE.read_bytes()


def test_the_administrators_way_of_writing_stays(config: Path) -> None:
    text = '# mine\nlog = [\n  "a",  # first\n  "b",\n]\n\nwindow="1h" # ours\n'
    config.write_text(text)
    assert command("setup", "config", "--config", config, "log=a,b", "window=1h").status == 0
    assert config.read_text() == text  # it says so already
    assert command("setup", "config", "--config", config, "log=c").status == 0
    assert config.read_text() == '# mine\nlog = ["c"]\n\nwindow="1h" # ours\n'


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("window", "SETTING=VALUE"),
        ("windw=1h", "SETTING=VALUE"),
        ("window=soon", "not a duration"),
        ("prefix=65", "neither 64 nor 128"),
        ("windows=a", "is a table"),
        ("shadow=maybe", "not true or false"),
    ],
)
def test_settings_that_cannot_be(config: Path, said: str, reason: str) -> None:
    assert reason in refused("setup", "config", "--config", config, said)
    assert config.read_bytes() == EXAMPLE.read_bytes()


@pytest.mark.parametrize("text", ['"window" = "1h"\n', 'x = """\nwindow = "30m"\n"""\n'])
def test_a_file_that_is_laid_out_otherwise_is_not_touched(config: Path, text: str) -> None:
    config.write_text(text)
    assert "edit it by hand" in refused("setup", "config", "--config", config, "window=2h")
    assert config.read_text() == text


def test_a_file_that_is_no_toml(config: Path) -> None:
    config.write_text("window = 30m\n")
    assert "not TOML" in refused("setup", "config", "--config", config, "window=2h")


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_any_value_can_be_set_and_taken_out(window: str, log: list[str]) -> None:
    text = EXAMPLE.read_text()
    after = change(text, {"window": window, "log": log})
    assert tomllib.loads(after) == {**tomllib.loads(text), "window": window, "log": log}
    assert re.sub(r"(?m)^(window|log) = .*\n", "", after) == text
    assert change(after, {"window": None, "log": None}) == text
