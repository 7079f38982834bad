"""Writes tables of Postfix by its own ``postmap``, beside the old ones, and renames them.

A table is made in a directory of its own, ``.NAME.pbs-watch`` beside it, which is locked while it
is in use and gone afterwards; what a killed run left in it is removed by the next one.  Postfix
has the old file open until then, sees that it has lost its name, and opens the new one with its
next client.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pbs_watch.errors import PbsWatchError, UsageError
from pbs_watch.files import like, refuse_strangers, status, sync_directory

ENDING = {signal.SIGTERM, signal.SIGINT}
"""The signals that end an export; blocked from :func:`hold_signals` on, and waited for."""

_USUAL = "/usr/sbin:/usr/local/sbin:/usr/lib/postfix/sbin"
"""Where Postfix's commands are if they are not on the PATH."""

_UNWRITABLE = "bulk-mode"
"""What postmap's message holds for a type that it can only read."""

_MODE = 0o644
"""Of a new table, as postmap itself gives it."""

_SOURCE = "table"


class PostmapError(PbsWatchError):
    """postmap failed, or the table's place cannot be written: this may pass."""


class EndedError(Exception):
    """A signal asks to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Target:
    """A table by its type and its name, without the suffix that its type has."""

    type: str
    path: Path


def target(text: str) -> Target:
    """Read ``TYPE:PATH``; raises :class:`UsageError` for a type that cannot be written here."""
    kind, _, name = text.partition(":")
    if not re.fullmatch(r"[a-z0-9]+", kind) or not name or name.endswith("/"):
        raise UsageError(f"--table {text!r}: write TYPE:PATH, such as hash:/etc/postfix/relay")
    known = _said([_command("postconf"), "-m"]).split()
    if kind not in known:
        raise UsageError(
            f"--table {text}: this Postfix has no type {kind} (postconf -m); "
            f"install postfix-{kind}, or name another type"
        )
    path = Path(os.path.abspath(name))  # noqa: PTH100 - as written: a link may be the place
    if not path.parent.is_dir():
        raise UsageError(f"--table {text}: there is no directory {path.parent}; make it")
    return Target(kind, path)


def _command(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=_USUAL)
    if found is None:
        raise UsageError(f"{name} is not installed; a table is written by Postfix's own commands")
    return found


def _said(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UsageError(f"{words[0]}: cannot be run ({error.strerror})") from None
    if done.returncode:
        raise UsageError(f"{' '.join(words)}: {_last(done.stderr)}")
    return done.stdout


def _last(text: str) -> str:
    """The last line that a command said, which is why it failed."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "failed without a word"


def hold_signals() -> None:
    """From now on signals that end us wait until they are asked for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING, signal.SIGCHLD})


def wait(seconds: float) -> None:
    """Wait so long; raises :class:`EndedError` when a signal comes."""
    found = signal.sigtimedwait(ENDING, seconds)
    if found is not None:
        raise EndedError(found.si_signo)


def write(to: Target, source: bytes) -> list[Path]:
    """Replace the table by one with the rows of ``source``; the files of which it consists.

    Raises :class:`PostmapError`, :class:`UsageError` for a type that can only be read, and
    :class:`EndedError`; the old table then stays as it is.
    """
    try:
        with _workshop(to.path) as folder:
            _write_source(folder / _SOURCE, source)
            _run(to, folder)
            return _publish(to, folder)
    except OSError as error:
        raise PostmapError(f"{to.type}:{to.path}: cannot be written ({error.strerror})") from None


@contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    """A directory beside ``path`` that nobody else uses, empty, and gone afterwards."""
    folder = path.with_name(f".{path.name}.pbs-watch")
    while True:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise PostmapError(f"{path}: another pbs-watch export writes this table") from None
        now = status(folder)
        if now is not None and os.path.samestat(now, os.fstat(descriptor)):
            break
        os.close(descriptor)  # the last user has just removed it
    try:
        _empty(folder)
        yield folder
    finally:
        with suppress(OSError):
            _empty(folder)
            folder.rmdir()
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


def _write_source(path: Path, source: bytes) -> None:
    with path.open("wb") as file:
        # postmap gives the table the mode of its source, and works as the source's owner.
        os.fchmod(file.fileno(), _MODE)
        file.write(source)


def _run(to: Target, folder: Path) -> None:
    said = folder / "said"
    with said.open("wb") as errors:
        try:
            process = subprocess.Popen(
                [_command("postmap"), f"{to.type}:{folder / _SOURCE}"],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        except OSError as error:
            raise PostmapError(f"postmap: cannot be run ({error.strerror})") from None
        try:
            while process.poll() is None:
                # A second: in case that the child had ended before its signal was blocked.
                found = signal.sigtimedwait({*ENDING, signal.SIGCHLD}, 1.0)
                if found is not None and found.si_signo in ENDING:
                    raise EndedError(found.si_signo)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    why = _last(said.read_text(errors="backslashreplace"))
    said.unlink()
    if process.returncode == 0:
        return
    if _UNWRITABLE in why:
        raise UsageError(
            f"{to.type}:{to.path}: postmap can only read this type; "
            "name one that it writes: hash, btree, cdb, lmdb"
        )
    raise PostmapError(f"{to.type}:{to.path}: {why}")


def _publish(to: Target, folder: Path) -> list[Path]:
    """Rename the files of the new table over those of the old one."""
    made = sorted(one for one in folder.iterdir() if one.name != _SOURCE)
    if not made:
        raise UsageError(f"{to.type}:{to.path}: postmap made no file; name another type")
    places = []
    for one in made:
        named = Path(f"{to.path}{one.name.removeprefix(_SOURCE)}")
        refuse_strangers(named)
        place = Path(os.path.realpath(named))
        descriptor = os.open(one, os.O_RDWR | os.O_CLOEXEC)
        try:
            like(descriptor, status(place), _MODE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        one.replace(place)
        sync_directory(place.parent)
        places.append(place)
    return places
