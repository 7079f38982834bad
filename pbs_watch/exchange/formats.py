"""Which format a file to be imported has.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pbs_watch.errors import UsageError
from pbs_watch.exchange import authpfix, jsonl_reader, popbsmtp
from pbs_watch.exchange.parcel import Parcel
from pbs_watch.grants.address import literal

FORMATS = ("jsonl", "authpfix", "pop-before-smtp")


def format_of(name: str, data: bytes) -> str:
    """The format of ``data``, the content of a file called ``name``; raises :class:`UsageError`."""
    first = next(_lines(data), b"")
    if first.startswith(b"{"):
        return "jsonl"
    if popbsmtp.has_heading(data):
        return "pop-before-smtp"
    for line in islice(_lines(data), 3):
        found = authpfix.columns(line)
        if authpfix.is_row(found):
            return "authpfix"
        if found and len(found) <= 2 and literal(found[0]) is not None:
            return "pop-before-smtp"
    if first and not authpfix.columns(first):
        return "authpfix"  # a table without rows
    raise UsageError(f"{name}: of no known format; say which with --from {'|'.join(FORMATS)}")


def read(
    name: str,
    data: bytes,
    form: str | None,
    now: float,
    window: float,
    *,
    force: bool,
    fold: bool = False,
) -> Parcel:
    """What a file called ``name`` holds, in a format or (``None``) in the one that it looks like.

    Raises :class:`UsageError`.
    """
    form = form or format_of(name, data)
    if form == "jsonl":
        return jsonl_reader.read(name, data, force=force, fold=fold)
    if form == "authpfix":
        return authpfix.read(name, data, now, window, force=force)
    return popbsmtp.read(name, data, now, window)


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines that are not empty, without splitting more than is asked for."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line = data[start:end].strip()
        if line:
            yield line
        start = end + 1
