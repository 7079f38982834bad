"""Random histories of a log: written, rotated, compressed, removed, followed, stopped and killed.

Whatever happens is legal for a log: lines are lost by nobody but, in copying and truncating, by
whoever writes between the two; here nobody does.
"""

from __future__ import annotations

import gzip
import lzma
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import zstandard

from pbs_watch.log.follow import GRACE
from pbs_watch.log.position import Position
from tests.promise_3_exactly_once.followed import Followed, Writer, lines, rotations

STEPS = 60

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
}


def compress(path: Path, ending: str) -> Path:
    """What gzip, xz and zstd do: the time of the last write is kept, the file itself is not."""
    found = path.stat()
    packed = path.with_name(path.name + ending)
    packed.write_bytes(COMPRESSED[ending](path.read_bytes()))
    os.utime(packed, ns=(found.st_atime_ns, found.st_mtime_ns))
    path.unlink()
    return packed


class History:
    """One log that things happen to, the lines completed in it, and who follows it."""

    def __init__(
        self, directory: Path, seed: int, *, renames: bool, truncates: bool, stops: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.written: list[bytes] = []
        self.half = b""
        self.writer = Writer(directory / "mail.log")
        self.log = Followed(self.writer.path).start()
        self.running = True
        self.stops = stops
        self.way = ""
        self.committed: tuple[tuple[Position, ...], int] = ((), 0)
        self.steps = [self.write] * 5 + [self.write_half] * 3 + [self.look] * 4 + [self.commit] * 2
        self.steps += [self.stop, self.kill, self.begin, self.begin, self.compress, self.compress]
        self.steps += [self.delay, self.unlink]
        if renames:
            self.steps += [self.rotate, self.rename_first, self.absent]
        if truncates:
            self.steps += [self.copytruncate, self.copytruncate_regrown]

    def run(self) -> None:
        for _ in range(STEPS):
            self.step(self.random.choice(self.steps))
        self.complete()
        self.begin()
        self.log.drain()

    def step(self, step: Callable[[], None]) -> None:
        self.happened[step.__name__] += 1
        step()

    def close(self) -> None:
        if self.running:
            self.log.source.close()
        self.writer.file.close()

    # What is written

    def write(self, most: int = 6) -> None:
        count = len(self.written) + (1 if self.half else 0)
        more = lines(count, count + self.random.randrange(1, most))
        self.complete()
        self.written += more
        self.writer.write(b"".join(line + b"\n" for line in more))

    def write_half(self) -> None:
        """Begin a line, go on with it, or complete it."""
        if self.half and self.random.random() < 0.3:
            self.complete()
            return
        piece = self.random.choice([b"a", b"bc" * 20, b"d" * 300, b"\xff"])
        self.half += piece
        self.writer.write(piece)

    def complete(self) -> None:
        if self.half:
            # As real ones, lines differ from each other near their ends too.
            end = b" %06d" % len(self.written)
            self.writer.write(end + b"\n")
            self.written.append(self.half + end)
            self.half = b""

    # Who follows

    def look(self) -> None:
        if not self.running:
            return
        if self.random.random() < 0.7:
            self.log.drain(self.random.choice([70_000, 1 << 18]))
        else:
            self.log.look()

    def delay(self) -> None:
        """Longer than a renamed file is watched for."""
        if self.running:
            self.log.drain()
            self.log.now += GRACE + 1
            self.log.drain()
            self.log.look()

    def commit(self) -> None:
        if self.running:
            self.committed = (self.log.source.positions, len(self.log.lines))

    def stop(self) -> None:
        if self.running:
            self.commit()
            self.kill()

    def kill(self) -> None:
        """What was not committed never happened."""
        if self.running and self.stops:
            self.running = False
            self.log.source.close()
            del self.log.lines[self.committed[1] :]

    def begin(self) -> None:
        if not self.running:
            self.running = True
            self.log.reopen(self.committed[0])

    # What becomes of the files

    def rotates(self, how: str) -> None:
        """Somebody who changes the way of rotation lets the log be read in between."""
        self.complete()
        if self.way not in ("", how):
            self.anchor()
        self.way = how
        self.happened["rotations"] += 1

    def rotate(self) -> None:
        """A daemon reopens its log between two lines."""
        self.rotates("renames")
        self.writer.rotate()

    def rename_first(self) -> None:
        """The writer goes on writing to the renamed file for a while."""
        self.rotates("renames")
        self.writer.rename()
        for _ in range(self.random.randrange(4)):
            self.step(self.random.choice([self.write, self.write_half, self.look, self.begin]))
        self.complete()
        self.writer.reopen()

    def absent(self) -> None:
        """For a while nothing has the log's name."""
        self.rotates("renames")
        self.writer.rename()
        self.writer.file.close()
        for _ in range(self.random.randrange(4)):
            self.step(self.random.choice([self.look, self.commit, self.stop, self.begin]))
        self.writer.reopen()

    def copytruncate(self) -> None:
        # The copy would end in half a line and the rest of it begin the new file.
        self.rotates("truncates")
        self.anchor()
        self.writer.copytruncate()

    def copytruncate_regrown(self) -> None:
        """The file is longer than before when it is looked at again."""
        self.copytruncate()
        self.write(most=60)

    def anchor(self) -> None:
        """Until something was read, and committed, nothing tells that it is truncated again."""
        self.begin()
        self.log.drain()
        self.commit()

    def compress(self) -> None:
        """One of the rotated files, at once or later."""
        plain = [path for path in self.rotated() if path.suffix[1:].isdigit()]
        if plain:
            ending = self.random.choice(sorted(COMPRESSED))
            compress(self.random.choice(plain[:2]), ending)
            self.happened[ending] += 1

    def unlink(self) -> None:
        """The oldest, when nobody needs it any more."""
        if self.running:
            self.complete()
            self.log.drain()
            self.commit()
            for path in self.rotated()[self.random.randrange(4) :]:
                path.unlink()

    def rotated(self) -> list[Path]:
        """The rotated files, the newest first."""
        log = self.writer.path
        found = [path for path in log.parent.iterdir() if path != log]
        return sorted(found, key=rotations)


def play(seed: int, *, renames: bool, truncates: bool) -> Counter[str]:
    """Runs one history and checks it; what happened in it."""
    with tempfile.TemporaryDirectory() as directory:
        history = History(Path(directory), seed, renames=renames, truncates=truncates)
        try:
            history.run()
        finally:
            history.close()
        known = f"seed {seed}, renames {renames}, truncates {truncates}"
        assert history.log.lines == history.written, known
        assert history.written, known
        happened = history.happened
        happened["lines"] = len(history.written)
        happened["files"] = len(list(Path(directory).iterdir()))
        happened["gaps"] = history.log.gaps
        return happened
