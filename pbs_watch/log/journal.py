"""Following the systemd journal, through journalctl.

journalctl prints the entries as JSON, from a cursor on, and follows; the cursor of the last entry
read is the source's place.  By default only entries are believed whose trusted fields say that they
come from courierlogger running as root: with logger(1) anybody can write any tag and message, but
not those fields (systemd.journal-fields(7)).  Messages of the journal itself are taken as well,
since they tell that others were suppressed.

journalctl that ends is started again where it stopped.  An entry that is not found again is a gap.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

from pbs_watch.log import entry
from pbs_watch.log.lines import Block
from pbs_watch.log.places import Notice
from pbs_watch.log.stream import Pipe

PREFIX = "journal:"
"""What names the journal in the setting ``log``; a directory of journal files may follow."""

_OF_THE_JOURNAL = ("+", "_TRANSPORT=driver")
"""Matches what journald itself wrote; nobody else can set this field."""

_RUN_UP = 600.0
"""Seconds read before the window: there the doubts of a beginning in the middle end."""

_AGAIN_AFTER = 5.0
"""Seconds until journalctl is started again."""

_REASON = 4096
"""Bytes kept of what journalctl says to standard error."""


class Journal:
    """The journal as a source.

    ``name``: ``journal:`` or ``journal:DIRECTORY``.  ``trust``: matches of journalctl(1) that an
    entry must fulfil, empty for all.  ``gap`` is called when entries may have been lost.
    """

    restarts = 0

    def __init__(
        self, name: str, trust: Sequence[str], gap: Callable[[], None], notice: Notice
    ) -> None:
        self.name = name
        self.blind = True
        self._trust = trust
        self._gap = gap
        self._notice = notice
        self._cursor = ""
        self._expected = ""
        self._missing = False
        self._since = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Pipe | None = None
        self._said = b""
        self._start_at = 0.0

    @property
    def cursor(self) -> str:
        """The cursor of the last entry that was read, empty before the first."""
        return self._cursor

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when there is something to read."""
        return self._pipe.descriptor if self._pipe is not None else None

    def start(self, cursor: str, since: float) -> None:
        """Read on after ``cursor``, or from ``since`` (epoch seconds) where it is empty."""
        self._cursor = cursor
        self._since = max(since - _RUN_UP, 0)
        if not cursor and self._begins_before(self._since):
            self._gap()

    def look(self, now: float) -> int:
        """Bytes of entries that wait to be read; ``now``: monotonic seconds."""
        if self._pipe is None and now >= self._start_at:
            self._run(now)
        if self._pipe is None:
            return 0
        self._hear()
        self._pipe.fill()
        waiting = self._pipe.waiting
        if self._pipe.ended and not waiting:
            self._ended(now)
        return waiting

    def read(self, _limit: int) -> tuple[list[Block], int]:
        """The lines of the entries that wait, and how many bytes these took."""
        if self._pipe is None:
            return [], 0
        printed, size = self._pipe.lines()
        # Lines that may have some missing between them stand in blocks of their own.
        texts = [bytearray()]
        for block in printed:
            for one in filter(None, block.data[block.start : block.end].split(b"\n")):
                self._missing = False
                line = self._line(one)
                if self._missing:
                    texts.append(bytearray())
                texts[-1] += line
        return [Block(bytes(text), 0, len(text)) for text in texts if text], size

    def _line(self, printed: bytes) -> bytes:
        try:
            found = entry.read(printed)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            # Too long an entry, or no entry: something may have been missed.
            self._missed()
            return b""
        expected, self._expected = self._expected, ""
        self._cursor = found.cursor
        if expected == found.cursor:
            return b""
        if expected:
            self._notice(f"{self.name}: the entry read last is gone; some may have been missed")
            self._missed()
        return found.line

    def _missed(self) -> None:
        self._missing = True
        self._gap()

    def _run(self, now: float) -> None:
        self.close()
        command = [*self._journalctl(), "--output=json", "--all", "--follow", "--no-tail"]
        # Following alone means the current boot: what came before it would be left out unseen.
        command.append("--merge")
        if self._cursor:
            # Including the entry itself, to see that it is still there.
            command.append(f"--cursor={self._cursor}")
        else:
            command.append(f"--since=@{self._since:.0f}")
        command += self._matches()
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            self._trouble(f"journalctl cannot be run ({error.strerror})", now)
            return
        assert self._child.stdout is not None  # noqa: S101 - pipes were asked for
        assert self._child.stderr is not None  # noqa: S101
        os.set_blocking(self._child.stderr.fileno(), False)
        self._said = b""
        self._expected = self._cursor
        self._pipe = Pipe(self._child.stdout.fileno())
        self.blind = False

    def _journalctl(self) -> list[str]:
        directory = self.name.removeprefix(PREFIX)
        command = ["journalctl", "--quiet", "--no-pager"]
        return [*command, f"--directory={directory}"] if directory else command

    def _matches(self) -> list[str]:
        # --merge reads the journals of other machines as well, where there are any.
        ours = [] if self.name.removeprefix(PREFIX) else _this_machine()
        return [*self._trust, *ours, *_OF_THE_JOURNAL, *ours] if self._trust else ours

    def _begins_before(self, since: float) -> bool:
        """Whether there are entries before ``since``, which will not be read."""
        command = [*self._journalctl(), "--lines=1", f"--until=@{since:.0f}", *self._matches()]
        try:
            found = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return True
        return bool(found.stdout) or found.returncode != 0

    def _ended(self, now: float) -> None:
        """End with journalctl; its pipe stays open until nobody watches it any more."""
        self._pipe = None
        child = self._child
        if child is not None:
            child.kill()
            child.wait()
            self._hear()
            reason = self._said.decode("utf-8", "replace").strip().partition("\n")[0]
            self._trouble(f"journalctl ended ({reason or child.returncode})", now)

    def _hear(self) -> None:
        """Keep what journalctl complains of; it would wait for us once the pipe is full."""
        if self._child is not None and self._child.stderr is not None:
            with suppress(BlockingIOError):
                while said := os.read(self._child.stderr.fileno(), _REASON):
                    self._said = (self._said + said)[:_REASON]

    def _trouble(self, reason: str, now: float) -> None:
        self.blind = True
        self._start_at = now + _AGAIN_AFTER
        self._notice(f"{self.name}: {reason}; trying again")

    def close(self) -> None:
        """End journalctl."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _this_machine() -> list[str]:
    """A match for entries of this machine; none where it has no id (machine-id(5))."""
    try:
        with open("/etc/machine-id") as file:
            name = file.read().strip()
    except OSError:
        return []
    return [f"_MACHINE_ID={name}"] if name else []
