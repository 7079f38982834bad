"""Each shipped format shows a login, a failure and a forgery; all of them are found together."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from pbs_watch.pattern.cutting import is_cut
from pbs_watch.pattern.format import Format
from pbs_watch.pattern.library import load, load_file, names, shipped
from pbs_watch.pattern.matching import first_rule, header
from pbs_watch.pattern.search import Search

ALL = load(names([]), [])
CAPTURED = {"courier-pop3", "courier-imap", "courier-couriertcpd"}
"""Whose forgeries are in the captured logs, with examples of cuts beside them."""


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_a_format_shows_a_login_a_failure_and_a_forgery(fmt: Format) -> None:
    expected = [example.expect for example in fmt.examples]
    assert "login" in expected
    nothing = [one for one in fmt.examples if one.expect in {"nothing", "near"}]
    assert nothing
    if fmt.name not in CAPTURED:
        assert len(nothing) >= 2 or fmt.name == "dovecot-submission-log"


@pytest.mark.parametrize("path", sorted(shipped().glob("*.pattern")), ids=lambda path: path.stem)
def test_a_file_says_where_its_lines_come_from(path: Path) -> None:
    text = path.read_text()
    if path.stem != "courier":
        assert re.search(r"Captured from|not from a real run", text)


def test_all_formats_are_found_by_a_few_searches() -> None:
    """Each goes over all bytes: many times the formats must not take many times the time."""
    search = Search(ALL, {tag for fmt in ALL for tag in fmt.tags or {b""}})
    assert len(search._texts) <= 14


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_whatever_fits_a_rule_is_found_with_all_patterns_and_with_one(fmt: Format) -> None:
    tags = fmt.tags or {b""}
    for formats in (ALL, [fmt]):
        search = Search(formats, tags)
        for example in fmt.examples:
            for line in example.lines:
                head = header(fmt, line)
                if head is None:
                    continue
                cut = fmt.cut and is_cut(line, head.end(), len(line), fmt.cut)
                if cut or first_rule(fmt, line, head.end()):
                    assert search.hits(line + b"\n", 0, len(line) + 1), line


def test_all_patterns_are_checked_in_a_fifth_of_a_second() -> None:
    """Processor time: what others do meanwhile does not count."""

    def once() -> float:
        begun = time.process_time()
        for path in shipped().glob("*.pattern"):
            load_file(path)
        return time.process_time() - begun

    assert min(once() for _ in range(3)) < 0.2
