"""Random histories of a log against a model: exactly the lines that were written, in order.

Looks come between any two steps, as polling does, and so do restarts.  Copying and truncating is
tried apart from the rest, since lines that are written during it are lost before anybody could read
them; here nothing is.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.promise_3_exactly_once.followed import Followed, Writer, lines

SEEDS = range(150)
STEPS = 60


class Model:
    """One log that things happen to, and the lines that were completed in it."""

    def __init__(self, directory: Path, seed: int, *, truncates: bool) -> None:
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.written: list[bytes] = []
        self.half = b""
        self.anchored = False
        self.writer = Writer(directory / "mail.log")
        self.log = Followed(self.writer.path).start()
        self.steps = [self.write] * 4 + [self.write_half] * 3 + [self.look] * 3 + [self.restart]
        self.steps += [self.copytruncate] if truncates else [self.rotate, self.rename_first]

    def run(self) -> None:
        for _ in range(STEPS):
            step = self.random.choice(self.steps)
            self.happened[step.__name__] += 1
            step()
        self.complete()
        self.log.drain()

    def write(self) -> None:
        count = len(self.written) + (1 if self.half else 0)
        more = lines(count, count + self.random.randrange(1, 6))
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

    def look(self) -> None:
        if self.random.random() < 0.7:
            self.log.drain(self.random.choice([70_000, 1 << 18]))
            self.anchored = self.log.source.positions[-1].offset > 0
        else:
            self.log.look()

    def restart(self) -> None:
        self.log.restart()

    def rotate(self) -> None:
        """A daemon reopens its log between two lines."""
        self.complete()
        self.writer.rotate()

    def rename_first(self) -> None:
        """The writer goes on writing to the renamed file for a while."""
        self.complete()
        self.writer.rename()
        for _ in range(self.random.randrange(4)):
            self.random.choice([self.write, self.write_half, self.look])()
        self.complete()
        self.writer.reopen()

    def copytruncate(self) -> None:
        # The copy would end in half a line and the rest of it begin the new file.
        self.complete()
        if not self.anchored:
            # Nothing was read since the last time: nothing could tell that it was truncated again.
            self.log.drain()
        self.writer.copytruncate()
        self.anchored = False


@pytest.mark.parametrize("truncates", [False, True], ids=["renamed", "copied and truncated"])
def test_any_history_gives_exactly_the_lines_that_were_written(
    truncates: bool,  # noqa: FBT001
) -> None:
    total: Counter[str] = Counter()
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as directory:
            model = Model(Path(directory), seed, truncates=truncates)
            try:
                model.run()
            finally:
                model.log.source.close()
                model.writer.file.close()
            assert model.log.lines == model.written, f"seed {seed}"
            if not truncates:
                assert model.log.gaps == 0, f"seed {seed}"
            assert len(model.written) > 10
            total += model.happened
            total["lines"] += len(model.written)
            total["files"] += len(list(Path(directory).iterdir()))
    rotations = total["copytruncate"] if truncates else total["rotate"] + total["rename_first"]
    assert rotations > 2 * len(SEEDS)
    assert total["files"] > 2 * len(SEEDS)
    assert total["restart"] > len(SEEDS)
    assert total["lines"] > 20 * len(SEEDS)
