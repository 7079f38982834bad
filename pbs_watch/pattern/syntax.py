"""The syntax tree of a pattern file: what was written, and where.

Made by :mod:`pbs_watch.pattern.grammar`, checked and turned into regular expressions by
:mod:`pbs_watch.pattern.compile`, walked element by element by :mod:`pbs_watch.pattern.explain`.
``at`` is the offset of a node's first character in the text of its file; ``str()`` of an element
is the element in the pattern language's own notation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pbs_watch.errors import PatternError


@dataclass(frozen=True, slots=True)
class Source:
    """A pattern file: its path, as errors shall show it, and its text."""

    path: str
    text: str

    def line(self, at: int) -> int:
        """The number of the line, from 1, on which the character at offset ``at`` stands."""
        return self.text.count("\n", 0, at) + 1

    def at_line(self, line: int) -> int:
        """The offset of the first word on a line."""
        at = sum(len(before) + 1 for before in self.text.split("\n")[: line - 1])
        return at + len(self.text[at:]) - len(self.text[at:].lstrip())

    def error(self, at: int, what: str) -> PatternError:
        """An error to raise about the character at offset ``at``, with a caret under it."""
        start = self.text.rfind("\n", 0, at) + 1
        line = self.text[start:].split("\n", 1)[0]
        before = "".join("\t" if c == "\t" else " " for c in self.text[start:at])
        where = f"{self.path}:{self.line(at)}:{at - start + 1}"
        return PatternError(f"{where}: {what}", f"{line}\n{before}^")


_ESCAPES = {0x22: r"\"", 0x5C: r"\\", 0x09: r"\t"}


def quoted(value: bytes) -> str:
    """A string of the pattern language that stands for these bytes."""
    text = "".join(
        _ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
        for byte in value
    )
    return f'"{text}"'


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands in the line as it is."""

    value: bytes
    at: int

    def __str__(self) -> str:
        """Notation."""
        return quoted(self.value)


@dataclass(frozen=True, slots=True)
class Field:
    """A part of the line that varies."""

    name: str
    at: int

    def __str__(self) -> str:
        """Notation."""
        return self.name


@dataclass(frozen=True, slots=True)
class Maybe:
    """``[ body ]``: taken whenever it fits, and then never given back."""

    body: Sequence
    at: int

    def __str__(self) -> str:
        """Notation."""
        return f"[ {notation(self.body)} ]"


@dataclass(frozen=True, slots=True)
class Choice:
    """``( a | b )``: the first alternative that fits is taken, and then never given back."""

    alternatives: tuple[Sequence, ...]
    at: int

    def __str__(self) -> str:
        """Notation."""
        return f"( {' | '.join(map(notation, self.alternatives))} )"


Element = Literal | Field | Maybe | Choice
Sequence = tuple[Element, ...]


def notation(sequence: Sequence) -> str:
    """A sequence as it is written in a pattern file."""
    return " ".join(map(str, sequence))


def fields(sequence: Sequence) -> Iterator[Field]:
    """All fields of a sequence in the order of the file, those in ``[ ]`` and ``( )`` too."""
    for element in sequence:
        match element:
            case Field():
                yield element
            case Maybe():
                yield from fields(element.body)
            case Choice():
                for alternative in element.alternatives:
                    yield from fields(alternative)


@dataclass(frozen=True, slots=True)
class HeaderStatement:
    """``header syslog`` (``elements`` is empty) or ``header`` and elements."""

    elements: Sequence
    at: int


@dataclass(frozen=True, slots=True)
class TagStatement:
    """``tag`` and names."""

    names: tuple[Literal, ...]
    at: int


@dataclass(frozen=True, slots=True)
class CutLengthStatement:
    """``cut 504 then 4096 bytes or 1s``; ``length`` is 0 where no number was written."""

    length: int
    bytes: int
    seconds: float
    at: int


@dataclass(frozen=True, slots=True)
class CutStartStatement:
    """``cut "start"``, and the tail after ``without`` (empty: there was none)."""

    starts: Literal
    tail: Sequence
    at: int


@dataclass(frozen=True, slots=True)
class NearStatement:
    """``near "text"``."""

    literal: Literal
    at: int


@dataclass(frozen=True, slots=True)
class RuleStatement:
    """``login``, ``end``, ``open`` or ``fail``; ``flag`` is ``hold``, ``norenew`` or empty."""

    kind: str
    flag: str
    body: Sequence
    at: int


@dataclass(frozen=True, slots=True)
class JoinStatement:
    """``join pid within 60s``."""

    by: str
    seconds: float
    at: int


@dataclass(frozen=True, slots=True)
class ExampleStatement:
    """``example``, what it expects, its lines, and what they must capture."""

    expect: str
    lines: tuple[Literal, ...]
    user: bytes | None
    address: bytes | None
    at: int


Statement = (
    HeaderStatement
    | TagStatement
    | CutLengthStatement
    | CutStartStatement
    | NearStatement
    | RuleStatement
    | JoinStatement
    | ExampleStatement
)


@dataclass(frozen=True, slots=True)
class FormatStatement:
    """``format``, its name, and what follows up to the next one."""

    name: str
    statements: tuple[Statement, ...]
    at: int
