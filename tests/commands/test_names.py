"""Names from a log, as they are shown and typed; and the words for reasons."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from pbs_watch.commands.reasons import REASONS
from pbs_watch.escape import meant, printable, shown
from pbs_watch.grants.judge import ALL_REASONS
from tests.daemon import ROOT


@given(st.binary())
@example(b"\\")
@example(b"\\x41")
@example(b"\\\\x41\xff")
@example("\u200b\u2028\x85".encode())
def test_what_is_shown_is_printable_and_means_the_same(raw: bytes) -> None:
    assert shown(raw).isprintable()
    assert meant(shown(raw)) == raw


@given(st.text())
@example("\udcff \ud800")
def test_any_text_is_made_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text


def test_every_reason_is_worded_and_documented() -> None:
    assert set(REASONS) == ALL_REASONS
    page = (ROOT / "docs" / "grants.rst").read_text()
    table = page.partition("reason         what it means\n")[2].partition("\n\n")[0]
    documented = re.findall(r"^([a-z_]+(?:, [a-z_]+)*) ", table, re.MULTILINE)
    assert {name for names in documented for name in names.split(", ")} == ALL_REASONS
