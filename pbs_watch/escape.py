r"""Bytes from the network as text for people and terminals, and back.  Pure.

Printable UTF-8 stands as it is, any other byte as ``\xHH``, and a backslash as ``\\``: so a name
that a command shows is one that a command takes.
"""

from __future__ import annotations

import re

_ESCAPED = re.compile(rb"\\(?:\\|x([0-9A-Fa-f]{2}))")


def shown(raw: bytes) -> str:
    """Bytes as text in which nothing steers a terminal; :func:`meant` turns it back."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return printable(text.replace("\\", "\\\\"))


def meant(text: str) -> bytes:
    """The bytes of a name as :func:`shown` wrote it, or as somebody typed it.

    A backslash that begins no escape is one.
    """
    raw = text.encode("utf-8", "surrogateescape")
    return _ESCAPED.sub(_byte, raw)


def _byte(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] is None else bytes([int(found[1], 16)])


def printable(text: str) -> str:
    """A text of ours with others' words in it, in which nothing steers a terminal.

    Its backslashes stay as they are: it is to be read, and not to be given to a command.
    """
    return "".join(char if char.isprintable() else _hex(char) for char in text)


def in_columns(raw: bytes) -> str:
    """Bytes as ASCII, each of them alone, so that a place among them is a column."""
    return printable(raw.decode("ascii", "surrogateescape"))


def _hex(char: str) -> str:
    # A byte that is no UTF-8 has come as a surrogate.
    lone = "\udc80" <= char <= "\udcff"
    raw = char.encode("utf-8", "surrogateescape" if lone else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in raw)
