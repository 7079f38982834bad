"""What each setting takes: from TOML's values, or the command line's texts, to ours.

Every function raises :class:`UsageError` (or another error of ours) that says what to write; the
caller adds where it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

from pbs_watch.durations import seconds
from pbs_watch.errors import UsageError
from pbs_watch.grants.address import network

_MOST = 1000
"""Users of an address, or addresses of a user, that are counted: each login counts them anew."""

_LONGEST_WAIT = 0.8
"""Seconds: of the 0.9 that a question may wait, some are left for reading the log."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is not a text; write it in quotes")
    if not value.strip():
        raise UsageError("an empty text; write something, or leave the setting out")
    if _CONTROL.search(value):
        raise UsageError(f"{value!r} holds a control character; leave it out")
    return value


def _utf8(value: object) -> str:
    """A text that goes on the wire or is compared with bytes; paths need not be UTF-8."""
    text = _text(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8; write it in UTF-8") from None
    return text


def _answer(value: object) -> str:
    from pbs_watch.answer.wire import Answers  # noqa: PLC0415 - as the next: for `get` too

    text = _utf8(value)
    Answers(text)
    return text


def _hosts(value: object) -> tuple[str, ...]:
    return tuple(_utf8(item) for item in _cleared(value))


def _cleared(value: object) -> tuple[str, ...]:
    """A list of texts, which the word ``none`` clears: so the command line can do it too."""
    found = _texts(value)
    return () if found == ("none",) else found


def _tcp_tables(value: object) -> tuple[str, ...]:
    from pbs_watch.answer import listen  # noqa: PLC0415

    found = _texts(value)
    for where in found:
        listen.parse_tcp(where)
    return found


def _socketmaps(value: object) -> tuple[str, ...]:
    from pbs_watch.answer import listen  # noqa: PLC0415

    found = _cleared(value)
    for where in found:
        listen.parse(where)
    return found


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value),)
    if not isinstance(value, list | tuple):
        raise UsageError(f'{value!r} is not a list of texts; write ["...", "..."]')
    return tuple(_text(item) for item in value)


def _some(value: object) -> tuple[str, ...]:
    found = _texts(value)
    if not found:
        raise UsageError("an empty list; name at least one, or leave the setting out")
    return found


def _path(value: object) -> Path:
    return Path(_utf8(value))  # LMDB takes no other


def _paths(value: object) -> tuple[Path, ...]:
    return tuple(map(Path, _texts(value)))


def _duration(value: object) -> float:
    length = seconds(_text(value))
    if length <= 0:
        raise UsageError("a duration of nothing; write one like 30m")
    return length


def _never(value: object) -> tuple[str, ...]:
    return _networks(value, ("own", "gateway"), "or the words own, gateway, none")


def _networks(value: object, words: Sequence[str], hint: str) -> tuple[str, ...]:
    """Networks and words, as a list or in one text with commas; ``none`` alone: an empty list."""
    found: list[str] = []
    for text in _texts(value):
        found += [item.strip() for item in text.split(",") if item.strip()]
    if found == ["none"]:
        return ()
    for item in found:
        if item not in words:
            try:
                network(item)
            except UsageError as error:
                raise UsageError(f"{error}, {hint}") from None
    return tuple(found)


def _only(value: object) -> tuple[str, ...]:
    return _networks(value, (), "or the word none")


def _domain(text: str) -> str:
    """``@`` and a domain, whose case does not matter."""
    if len(text) < 2:
        raise UsageError("'@' names no domain; write one like @example.org")
    return text.lower()


def _users(value: object) -> tuple[str, ...]:
    """Users, or ``@`` and a domain, whose case does not matter."""
    found = _cleared(value)
    return tuple(_domain(user) if user.startswith("@") else user for user in found)


def _windows(value: object) -> dict[str, float]:
    """Durations by format or ``@domain``: a table, or texts like ``courier-imap=1h``."""
    if isinstance(value, dict):
        pairs = list(value.items())
    else:
        pairs = []
        for text in _cleared(value):
            name, equals, length = text.partition("=")
            if not equals:
                raise UsageError(f"{text!r} is not FORMAT=D or @DOMAIN=D; write courier-imap=1h")
            pairs.append((name.strip(), length))
    return {
        _domain(name) if name.startswith("@") else _text(name): _duration(length)
        for name, length in pairs
    }


def _number(value: object) -> int:
    """A whole number, 0 or larger; the command line gives it as text."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**9:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise UsageError(f"{shown} is no number of things; write one like 20, or 0 for no limit")
    return number


def _limit(value: object) -> int:
    """A number of users or addresses."""
    number = _number(value)
    if number > _MOST:
        raise UsageError(f"{number} is more than {_MOST}, which is as far as is counted")
    return number


def _prefix(value: object) -> int:
    if value not in {64, 128, "64", "128"}:
        raise UsageError(f"{value!r} is neither 64 nor 128")
    return int(str(value))


def _ports(value: object) -> tuple[int, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    found = []
    for item in items:
        port = int(item) if isinstance(item, str) and item.isdecimal() else item
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise UsageError(f"{item!r} is not a port; write a number from 1 to 65535")
        found.append(port)
    if not found:
        raise UsageError("an empty list; write the mail server's ports, or leave the setting out")
    return tuple(found)


def _rate(value: object) -> tuple[int, float] | None:
    """``N/D``: how many in how long; ``none``: no limit."""
    text = _text(value)
    if text == "none":
        return None
    number, slash, length = text.partition("/")
    if not slash or not re.fullmatch(r"[1-9]\d{0,5}", number):
        raise UsageError(f"{text!r} is not a rate; write one like 100/1h, or none")
    return int(number), _duration(length)


def _miss_wait(value: object) -> float:
    """How long a miss waits for its login: an answer has to come within a second."""
    text = _text(value)
    return 0.0 if text == "none" else _wait(text, "0.2s, or none")


def _shared(value: object) -> str:
    from pbs_watch.shared.where import check  # noqa: PLC0415 - as for _answer()

    text = _utf8(value)
    return "" if text == "none" else check(text)


def _short_wait(value: object) -> float:
    """How long the engine is waited for."""
    return _wait(_text(value), "50ms")


def _wait(text: str, like: str) -> float:
    length = seconds(text)
    if length > _LONGEST_WAIT:
        raise UsageError(
            f"{text!r} is longer than {_LONGEST_WAIT:g}s, though an answer has to come within a "
            f"second; write one like {like}"
        )
    return length


def _retention(value: object) -> float:
    return seconds(_text(value))


def _metrics(value: object) -> str | None:
    """``ADDRESS:PORT``, or ``off``."""
    from pbs_watch.answer import listen  # noqa: PLC0415

    text = _text(value)
    if text == "off":
        return None
    listen.parse_tcp(text)
    return text


def _metrics_file(value: object) -> Path | None:
    """The path of a file, as the textfile collector takes it, or ``off``."""
    path = _path(value)
    if path == Path("off"):
        return None
    if path.suffix != ".prom" or not path.is_absolute():
        raise UsageError(f"{str(path)!r} is no absolute path that ends in .prom, nor off")
    return path


def _zone(value: object) -> tzinfo | None:
    name = _text(value)
    if name == "local":
        return None
    found = re.fullmatch(r"([+-])(\d\d):(\d\d)", name)
    if found:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset < timedelta(days=1):
            return timezone(offset if found[1] == "+" else -offset)
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - rarely needed, slow to import

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # a folder's name, no such file, no such zone
        raise UsageError(
            f"unknown zone {name!r}; write local, UTC, +02:00 or a name like Europe/Berlin"
        ) from None


def _choice(*words: str) -> Callable[[object], str]:
    def choose(value: object) -> str:
        if value not in words:
            raise UsageError(f"{value!r} is none of {', '.join(words)}")
        return str(value)

    return choose


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{value!r} is not true or false")
    return value


KINDS: dict[str, Callable[[object], Any]] = {
    "log": _some,
    "patterns": _some,
    "patterns_dir": _paths,
    "map": _path,
    "tcp_table": _tcp_tables,
    "socketmap": _socketmaps,
    "window": _duration,
    "windows": _windows,
    "session_limit": _duration,
    "prefix": _prefix,
    "never": _never,
    "only": _only,
    "ignore_users": _users,
    "fold_users": _flag,
    "max_users_per_address": _limit,
    "max_addresses_per_user": _limit,
    "over_limit": _choice("alarm", "refuse"),
    "relay_limit": _rate,
    "over_relay_limit": _choice("trouble", "no"),
    "witness": _choice("off", "hold", "alarm", "require"),
    "witness_ports": _ports,
    "miss_wait": _miss_wait,
    "shadow": _flag,
    "hosts": _hosts,
    "journal_trust": _cleared,
    "zone": _zone,
    "cuts": _choice("strict", "next", "off"),
    "answer": _answer,
    "trouble": _choice("tempfail", "defer"),
    "allow_remote": _flag,
    "retention": _retention,
    "audit": _choice("off", "text", "json"),
    "metrics": _metrics,
    "metrics_file": _metrics_file,
    "shared": _shared,
    "shared_host": _utf8,
    "shared_password_file": _path,
    "shared_ca_file": _path,
    "shared_cert_file": _path,
    "shared_key_file": _path,
    "shared_deadline": _short_wait,
    "shared_linger": _short_wait,
    "shared_trouble": _choice("trouble", "no"),
    "shared_layout": _choice("own", "authpfix"),
    "shared_table": _utf8,
}
"""For each setting what turns a value into ours."""
