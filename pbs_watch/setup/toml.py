"""Changes single settings in the text of a configuration file; the rest stays byte for byte.

A setting is written below the comment that mentions it (``#window = "30m"``), so that taking it out
again gives the text that was there.  What comes out is parsed and compared: where the text is laid
out in a way that this module does not see through, nothing is changed and :class:`UsageError` says
so.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pbs_watch.errors import UsageError

Value: TypeAlias = str | int | bool | Sequence[str] | Sequence[int]


def change(text: str, wanted: Mapping[str, Value | None]) -> str:
    """The text with these settings; ``None`` takes one out.

    Raises :class:`UsageError`, and :class:`tomllib.TOMLDecodeError` where the text is no TOML.
    """
    before = tomllib.loads(text)
    expected = dict(before)
    lines = text.splitlines(keepends=True)
    for name, value in wanted.items():
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = list(value) if isinstance(value, list | tuple) else value
        if expected.get(name) != before.get(name):
            _change(lines, name, value)
    after = "".join(lines)
    try:
        fits = tomllib.loads(after) == expected
    except tomllib.TOMLDecodeError:
        fits = False
    if not fits:
        raise UsageError(
            f"{', '.join(wanted)}: the file is written in a way that is not understood well "
            "enough to change it; edit it by hand"
        )
    return after


def _change(lines: list[str], name: str, value: Value | None) -> None:
    written = [] if value is None else [f"{name} = {_toml(value)}\n"]
    first = _find(lines, rf"[ \t]*{name}[ \t]*=")
    if first is not None:
        lines[first : _last(lines, first) + 1] = written
        return
    comment = _find(lines, rf"#[ \t]*{name}[ \t]*=")
    table = _find(lines, r"[ \t]*\[")
    place = comment + 1 if comment is not None else len(lines) if table is None else table
    if place and not lines[place - 1].endswith("\n"):
        lines[place - 1] += "\n"
    lines[place:place] = written


def _find(lines: Sequence[str], pattern: str) -> int | None:
    return next((at for at, line in enumerate(lines) if re.match(pattern, line)), None)


def _last(lines: Sequence[str], first: int) -> int:
    """The last line of a setting that begins in ``first``: a list may have several."""
    for last in range(first, len(lines)):
        try:
            tomllib.loads("".join(lines[first : last + 1]))
        except tomllib.TOMLDecodeError:
            continue
        return last
    return first


def _toml(value: Value) -> str:
    """A value as TOML writes it, which for texts, numbers and lists is as JSON does."""
    return json.dumps(value, ensure_ascii=False)
