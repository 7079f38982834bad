"""Random histories of a log against a model: exactly the lines that were written, in order."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.promise_3_exactly_once.history import History, play

WAYS = {
    "renamed": (True, False, range(200)),
    "copied and truncated": (False, True, range(150)),
    "both": (True, True, range(150)),
}


@pytest.mark.parametrize("way", WAYS)
def test_any_history_gives_exactly_the_lines_that_were_written(way: str) -> None:
    renames, truncates, seeds = WAYS[way]
    total: Counter[str] = Counter()
    for seed in seeds:
        total += play(seed, renames=renames, truncates=truncates)
    plays_happened(total, len(seeds))


def plays_happened(total: Counter[str], histories: int) -> None:
    """All that can happen did, and often."""
    assert total["lines"] > 20 * histories
    assert total["rotations"] > 3 * histories
    assert total["files"] > 2 * histories
    for step in ("kill", "stop", "begin", "look", "commit", "delay", "unlink", "write_half"):
        assert total[step] > histories, step
    for ending in (".gz", ".xz", ".zst"):
        assert total[ending] > histories / 3, ending


def test_nothing_is_doubted_while_a_log_is_renamed_under_a_follower() -> None:
    for seed in range(100):
        with tempfile.TemporaryDirectory() as directory:
            history = History(Path(directory), seed, renames=True, truncates=False, stops=False)
            history.steps.remove(history.unlink)
            try:
                history.run()
            finally:
                history.close()
        assert history.log.lines == history.written, f"seed {seed}"
        assert history.log.gaps == 0, f"seed {seed}"
        assert history.happened["rotations"]
