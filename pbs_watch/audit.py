"""The audit trail: who was granted, refused, revoked, expired, and why.  One line an event.

Pure: fields in, a line out.  What came from a log or a client stands quoted, in ASCII and without
a control character, so that it can neither forge a line nor steer a terminal.

Fields that may occur: ``time`` and ``event`` always; ``address``, ``user``, ``service``, ``login``,
``until``, ``reason``, ``times``, ``source``, ``file``, ``offset``, ``by``, ``note``, ``on``,
``answer``.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Literal

Form = Literal["text", "json"]

_PLAIN = re.compile(r"[A-Za-z0-9._:/@+-]+")


def line(form: Form, event: str, when: float, **fields: bytes | str | float | None) -> str:
    """One event as ``key=value`` pairs or as JSON; fields that are ``None`` are left out.

    ``when`` is in epoch seconds, as is every float among the fields.
    """
    named = {"time": _value(when), "event": event}
    named |= {name: _value(value) for name, value in fields.items() if value is not None}
    if form == "json":
        return json.dumps(named)
    return " ".join(f"{name}={_quoted(value)}" for name, value in named.items())


def _value(value: bytes | str | float) -> str | int:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return _time(value)
    return value


def _time(when: float) -> str:
    """RFC 3339 in UTC; a log may hold stamps that no year holds."""
    try:
        return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{when:.3f}"


def _quoted(value: str | int) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
