"""Names from a log, as they are shown and as they are typed."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from pbs_watch.escape import meant, printable, shown


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
