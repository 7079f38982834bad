"""Finding and loading pattern files.

A name such as ``courier`` is searched as ``courier.pattern`` in the operator's directories in
their order and then among the patterns shipped with the program, so an operator's file replaces a
shipped one of the same name.  A name with a slash, or one that ends in ``.pattern``, is a path.

Parsing a file and running its examples takes a tenth of a second, of which a replay of a small log
would be made.  So what that gives is made once for each shipped file, when the program is built
(``setup.py``), and is installed with it; it stands for a file as long as that has the same text.
It is a part of the program and written by nobody else; without it, or where it is of no use, files
are parsed.  pyparsing and what needs it are imported when the first file is, not with this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pbs_watch import __version__
from pbs_watch.errors import PatternError
from pbs_watch.pattern import compiled
from pbs_watch.pattern.format import Format

SUFFIX = ".pattern"

_LARGEST = 1 << 20
"""Bytes of a pattern file; a larger one is something else (a log, a device)."""

_COMPILED = Path(__file__).parent / "compiled"
"""Where what was made of the shipped files is installed; in the repository there is none."""


def load(
    names: Sequence[str], directories: Sequence[Path], *, parsed: bool = False
) -> tuple[Format, ...]:
    """The formats of all named patterns, in the order of the names, examples run.

    ``parsed``: the caller needs the rules as they were written, or the examples.

    A file named twice is loaded once.  Several formats may share a header and a tag (``imapd`` is
    Courier's and UW's); a line then belongs to the first that fits.  Two formats of one name, a
    missing or unreadable file and every error inside one raise :class:`PatternError`.
    """
    formats: dict[str, Format] = {}
    for path in dict.fromkeys(find(name, directories) for name in names):
        for fmt in load_file(path, parsed=parsed):
            other = formats.setdefault(fmt.name, fmt)
            if other is not fmt:
                raise PatternError(
                    f"{fmt.path}:1:1: format {fmt.name} stands in {other.path} too; "
                    "load one of the two files, or rename the format"
                )
    return tuple(formats.values())


def find(name: str, directories: Sequence[Path]) -> Path:
    """The file that a name means; raises :class:`PatternError` where there is none."""
    if "/" in name or name.endswith(SUFFIX):
        return Path(name)
    searched = (*directories, shipped())
    for directory in searched:
        path = directory / (name + SUFFIX)
        if path.is_file():
            return path
    from pbs_watch.pattern.checks import did_you_mean  # noqa: PLC0415 - the same

    known = _names(searched)
    places = ", ".join(map(str, searched))
    hint = did_you_mean(name, known) if known else "write the path of a pattern file"
    raise PatternError(f"{name}: no such pattern in {places}; {hint}")


def names(directories: Sequence[Path]) -> list[str]:
    """The names of all patterns, the operator's and the shipped ones, sorted."""
    return sorted(_names((*directories, shipped())))


def _names(directories: Iterable[Path]) -> set[str]:
    return {
        path.name.removesuffix(SUFFIX)
        for directory in directories
        if directory.is_dir()
        for path in directory.glob("*" + SUFFIX)
    }


def shipped() -> Path:
    """The directory of the patterns that come with the program.

    Installed, they are inside the package; in the repository, in the top-level ``patterns``.
    """
    package = Path(__file__).parents[1]
    installed = package / "patterns"
    return installed if installed.is_dir() else package.parent / "patterns"


def load_file(path: Path, *, parsed: bool = False) -> tuple[Format, ...]:
    """The formats of one file, examples run; raises :class:`PatternError`.

    ``parsed`` as for :func:`load`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise PatternError(f"{path}: {error.strerror}; name a pattern file") from error
    if len(content) > _LARGEST or b"\0" in content:
        raise PatternError(f"{path}: not a pattern file; write one as text of at most 1 MiB")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise PatternError(
            f"{path}:{line}:{column}: not UTF-8; save the file as UTF-8, or write \\xHH in strings"
        ) from None
    made = None if parsed else _made_before(path, text)
    return load_text(str(path), text) if made is None else made


def _made_before(path: Path, text: str) -> tuple[Format, ...] | None:
    """What was made of a text when the program was built, ``None`` where nothing was."""
    try:
        data = (_COMPILED / f"{path.stem}.json").read_bytes()
    except OSError:
        return None
    return compiled.load(data, __version__, str(path), text)


def write_compiled(folder: Path) -> None:
    """Make of each shipped file what is installed with the program, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(shipped().glob("*" + SUFFIX)):
        text = path.read_text(encoding="utf-8")
        made = compiled.dump(__version__, text, load_text(path.name, text))
        (folder / f"{path.stem}.json").write_bytes(made)


def load_text(path: str, text: str) -> tuple[Format, ...]:
    """The formats of a pattern file's text, examples run; ``path`` is what errors call it."""
    # Other commands start without pyparsing, which takes longer than all the rest.
    from pbs_watch.pattern.compile import compile_formats  # noqa: PLC0415
    from pbs_watch.pattern.forge import verify  # noqa: PLC0415
    from pbs_watch.pattern.grammar import parse  # noqa: PLC0415
    from pbs_watch.pattern.syntax import Source  # noqa: PLC0415

    source = Source(path, text)
    formats = compile_formats(source, parse(source))
    for fmt in formats:
        verify(source, fmt)
    return formats
