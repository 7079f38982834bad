"""A pattern is the file that the operator means, or an error that says which there are."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pbs_watch.errors import PatternError
from pbs_watch.pattern import library
from pbs_watch.pattern.library import find, load, load_file, names, shipped


def text(name: str) -> str:
    return f"""format {name}
    tag {name}
    login "LOGIN " user " from " address
    example login "Nov 22 08:00:00 mail {name}: LOGIN bob from 192.0.2.1" user bob
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "mine.pattern").write_text(text("mine"))
    return tmp_path


def test_a_name_is_searched_in_the_directories_and_then_among_the_shipped(directory: Path) -> None:
    assert find("mine", [directory]) == directory / "mine.pattern"
    assert find("courier", [directory]) == shipped() / "courier.pattern"
    (directory / "courier.pattern").write_text(text("courier-of-mine"))
    assert find("courier", [directory]) == directory / "courier.pattern"
    assert [fmt.name for fmt in load(["mine", "courier"], [directory])] == [
        "mine",
        "courier-of-mine",
    ]


def test_a_name_with_a_slash_or_suffix_is_a_path(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    assert find("mine.pattern", []) == Path("mine.pattern")
    (fmt,) = load(["./mine.pattern"], [])
    assert (fmt.name, fmt.path) == ("mine", "mine.pattern")


def test_a_file_named_twice_is_loaded_once(directory: Path) -> None:
    assert len(load(["mine", "mine", f"{directory}/mine.pattern"], [directory])) == 1


def test_a_missing_name_lists_what_there_is(directory: Path) -> None:
    with pytest.raises(PatternError, match=r"did you mean courier\?"):
        load(["curier"], [directory])
    with pytest.raises(PatternError, match=r"there are .*courier, .*mine, "):
        load(["zzz"], [directory])


def test_two_formats_of_one_name_are_refused(directory: Path) -> None:
    (directory / "other.pattern").write_text(text("mine"))
    with pytest.raises(PatternError, match=r"format mine stands in .*mine\.pattern too; "):
        load(["mine", "other"], [directory])


def test_formats_may_share_a_tag(directory: Path) -> None:
    (directory / "uw.pattern").write_text(text("imapd"))
    assert len(load(["courier", "uw"], [directory])) > 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x7fELF\0\0", r"not a pattern file; "),
        (b"format x\n    tag \xff\n", r":2:9: not UTF-8; "),
        (b"#" * (1 << 20) + b"\n", r"not a pattern file; "),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "bad.pattern"
    path.write_bytes(content)
    with pytest.raises(PatternError, match=complaint) as error:
        load([str(path)], [])
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PatternError, match=r"none\.pattern: No such file"):
        load([str(tmp_path / "none.pattern")], [])
    with pytest.raises(PatternError, match="Is a directory"):
        load([f"{tmp_path}/"], [])


def test_pyparsing_is_imported_only_when_a_pattern_is_parsed() -> None:
    code = "import sys, pbs_watch.pattern.library; sys.exit('pyparsing' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a build makes of the shipped patterns, where the program looks for it."""
    folder = tmp_path / "compiled"
    library.write_compiled(folder)
    monkeypatch.setattr(library, "_COMPILED", folder)
    return folder


@pytest.mark.parametrize("name", names([]))
def test_what_a_build_made_of_a_pattern_is_the_same(installed: Path, name: str) -> None:
    assert (installed / f"{name}.json").is_file()
    path = shipped() / f"{name}.pattern"
    parsed = [
        replace(fmt, examples=(), rules=tuple(replace(rule, body=()) for rule in fmt.rules))
        for fmt in load_file(path, parsed=True)
    ]
    assert list(load_file(path)) == parsed


def test_a_pattern_that_was_changed_is_parsed(installed: Path, directory: Path) -> None:
    assert not load(["courier"], [])[0].examples
    (directory / "courier.pattern").write_text(text("mine-too"))
    assert load(["courier"], [directory])[0].name == "mine-too"
    assert load(["courier"], [directory])[0].examples
    for damaged in (b"", b"{}", b"\xff", (installed / "courier.json").read_bytes()[:-9]):
        (installed / "courier.json").write_bytes(damaged)
        assert load(["courier"], [])[0].examples
