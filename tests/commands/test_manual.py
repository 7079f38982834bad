"""The man pages say every command, every option and every setting (docs/man)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch import cli
from pbs_watch.values import KINDS
from tests.daemon import ROOT, command

MANUAL = ROOT / "docs" / "man"
PROGRAM = (MANUAL / "pbs-watch.rst").read_text()
SETTINGS = (MANUAL / "pbs-watch.toml.rst").read_text()
EXAMPLE = ROOT / "packaging" / "pbs-watch.toml"

EVERYWHERE = {"--help", "--config", "--map"}
"""Options that the DESCRIPTION says once for all commands, as it does for those of settings."""


def parsers(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.Action]]:
    """Every command with each of its options and arguments; ``setup postfix`` is one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from parsers(child, f"{name} {word}".strip())
        elif name:
            yield name, action


COMMANDS = sorted({name for name, _ in parsers(cli.parser())})


def section(name: str) -> str:
    """What the page says of a command: from the line that names it to the next such line."""
    found = re.search(rf"(?m)^{name}\b.*\n(?: .*\n|\n)+", PROGRAM)
    assert found, f"pbs-watch(8) does not say {name}"
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_each_of_its_options(name: str) -> None:
    text = section(name)
    for _, action in (pair for pair in parsers(cli.parser()) if pair[0] == name):
        if action.help == argparse.SUPPRESS or action.dest in KINDS:
            continue
        for option in action.option_strings:
            if option.startswith("--") and option not in EVERYWHERE:
                assert re.search(rf"{option}\b", text), f"{name} {option}"


def test_options_that_are_said_once() -> None:
    description = PROGRAM.partition("DESCRIPTION\n")[2].partition("THE DAEMON\n")[0]
    for option in EVERYWHERE:
        assert f"**{option}**" in description


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_setting(name: str) -> None:
    found = re.search(rf"(?m)^(?:\w+, )*{name}(?:, \w+)*\n((?:    .*\n|\n)+)", SETTINGS)
    assert found, f"pbs-watch.toml(5) does not say {name}"
    assert "Default: " in " ".join(found[1].split())


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_setting_stands_in_the_example(name: str) -> None:
    assert re.search(rf"(?m)^#?{name} = ", EXAMPLE.read_text())


def test_the_example_with_every_setting_uncommented_is_sound(tmp_path: Path) -> None:
    config = tmp_path / "all.toml"
    config.write_text(re.sub(r"(?m)^#(\w+ = )", r"\1", EXAMPLE.read_text()))
    assert command("check", "--config", config).status == 0
