"""Looking at files and running programs for facts: nothing is changed, nothing is waited for long.

A file is read only if it is a regular one, and only its first megabyte; a program gets a few
seconds, no input, and the language C.  What cannot be seen is told as such: it is not "absent".
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LARGEST = 1 << 20
"""Bytes read of a configuration file; the largest main.cf of real life has some 100 KB."""

PATIENCE = 10.0
"""Seconds for a program: `postconf` takes milliseconds, and reads nothing but files."""

_PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
"""Where programs are looked for as well: `postconf` is in a folder that only root's PATH has."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text.  ``text`` is ``None`` where there is none to be had; ``why``: why it cannot be
    seen, empty where there is no such file.
    """

    path: str
    text: str | None = None
    why: str = ""

    @property
    def hidden(self) -> bool:
        """Whether there may be one that cannot be seen."""
        return self.text is None and bool(self.why)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program printed.  ``status`` is ``None`` where it did not run to its end: ``why``."""

    status: int | None
    out: str = ""
    err: str = ""
    why: str = ""


def read(path: Path) -> Text:
    """The text of a small file; anything but a regular file is not read."""
    name = str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Text(name, None, "not a file")
            return Text(name, file.read(_LARGEST).decode("utf-8", "surrogateescape"))
    except (FileNotFoundError, NotADirectoryError):
        return Text(name)
    except OSError as error:
        return Text(name, None, error.strerror or str(error))


def run(words: Sequence[str], seconds: float = PATIENCE) -> Ran:
    """Run a program to its end; never raises."""
    path = f"{os.environ.get('PATH', '')}:{_PROGRAMS}".lstrip(":")
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env={"PATH": path, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return Ran(None, why=f"{words[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Ran(None, why=f"{words[0]} did not end within {seconds:g} s")
    except OSError as error:
        return Ran(None, why=f"{words[0]}: {error.strerror or error}")
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Ran(done.returncode, out, err)


@dataclass(frozen=True, slots=True)
class Account:
    """As whom the daemon runs; ``name`` is for people."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


def may(account: Account | None, path: Path, mode: int) -> bool | None:
    """Whether that user may do ``mode`` (as for os.access) with ``path``; ``None``: unknown.

    The kernel is asked, in a child that becomes that user, so that folders, groups and access
    control lists all count.  Only root can do that; a user can ask for himself.
    """
    if account is None:
        return None
    if os.geteuid() == account.uid:
        return os.access(path, mode)
    if os.geteuid() != 0:
        return None
    return _as(account, lambda: os.access(path, mode))


def _as(account: Account, question: Callable[[], bool]) -> bool | None:
    child = os.fork()
    if not child:
        answer = 2
        try:
            os.setgroups(account.groups)
            os.setgid(account.gid)
            os.setuid(account.uid)
            answer = 0 if question() else 1
        finally:
            os._exit(answer)
    _, status = os.waitpid(child, 0)
    return {0: True, 1 << 8: False}.get(status)
