"""What was compiled of a pattern file, as JSON and back: all that the scanner needs.

It saves parsing the file and running its examples (:mod:`pbs_watch.pattern.library` says when).
JSON, since reading it can do nothing but give values: text, numbers, regular expressions.  What
only ``match`` and ``check`` show, the rules as they were written and the examples, is left out.

Pure: bytes in, values out.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pbs_watch.log.header import SYSLOG_HEADER, Header
from pbs_watch.pattern.format import Cut, CutRule, Format, Join, Kind, Near, Rule


def dump(version: str, text: str, formats: tuple[Format, ...]) -> bytes:
    """What :func:`load` reads: the formats that a file of this ``text`` holds.

    ``version``: of the program, which may change what follows from a text.
    """
    made = {
        "version": version,
        "text": text,
        "formats": [
            {
                "name": fmt.name,
                "header": [fmt.header.name, _text(fmt.header.regex.pattern)],
                "tags": sorted(map(_text, fmt.tags)),
                "rules": [_rule(rule) for rule in fmt.rules],
                "cut": fmt.cut and _cut(fmt.cut),
                "near": [[_text(near.literal), near.line] for near in fmt.near],
                "join": fmt.join and [fmt.join.by, fmt.join.seconds],
            }
            for fmt in formats
        ],
    }
    return json.dumps(made).encode()


def load(data: bytes, version: str, path: str, text: str) -> tuple[Format, ...] | None:
    """The formats of the file ``path``, without bodies and examples.

    ``None`` where the data was not made of this ``text`` by this version of the program, or is
    damaged.
    """
    try:
        made = json.loads(data)
        if made["version"] != version or made["text"] != text:
            return None
        return tuple(_read_format(fmt, path) for fmt in made["formats"])
    except (ValueError, LookupError, TypeError, re.error):
        return None


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind.value,
        "hold": rule.hold,
        "renew": rule.renew,
        "pattern": _text(rule.pattern),
        "groups": dict(rule.groups),
        "literals": [*map(_text, rule.literals)],
        "texts": [*map(_text, rule.texts)],
        "leads": [[*map(_text, lead)] for lead in rule.leads],
        "longest": rule.longest,
        "line": rule.line,
    }


def _cut(cut: Cut) -> list[Any]:
    rules = [[_text(one.starts), one.tail and _text(one.tail.pattern)] for one in cut.rules]
    return [cut.length, cut.bytes, cut.seconds, rules]


def _read_format(fmt: dict[str, Any], path: str) -> Format:
    return Format(
        name=fmt["name"],
        path=path,
        header=_read_header(*fmt["header"]),
        tags=frozenset(map(_bytes, fmt["tags"])),
        rules=tuple(map(_read_rule, fmt["rules"])),
        cut=_read_cut(*fmt["cut"]) if fmt["cut"] else None,
        near=tuple(Near(_bytes(literal), line) for literal, line in fmt["near"]),
        join=Join(*fmt["join"]) if fmt["join"] else None,
        examples=(),
    )


def _read_header(name: str, pattern: str) -> Header:
    if name == SYSLOG_HEADER.name:
        return SYSLOG_HEADER
    return Header(name, re.compile(_bytes(pattern)))


def _read_rule(rule: dict[str, Any]) -> Rule:
    return Rule(
        kind=Kind(rule["kind"]),
        hold=rule["hold"],
        renew=rule["renew"],
        pattern=_bytes(rule["pattern"]),
        groups=rule["groups"],
        literals=tuple(map(_bytes, rule["literals"])),
        texts=tuple(map(_bytes, rule["texts"])),
        leads=tuple(tuple(map(_bytes, lead)) for lead in rule["leads"]),
        longest=rule["longest"],
        line=rule["line"],
    )


def _read_cut(length: int, size: int, seconds: float, rules: list[list[str | None]]) -> Cut:
    return Cut(
        length,
        size,
        seconds,
        tuple(
            CutRule(_bytes(starts or ""), None if tail is None else re.compile(_bytes(tail)))
            for starts, tail in rules
        ),
    )
