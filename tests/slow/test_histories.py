"""The random histories of promise 3, ten times as many as in every run of the tests."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.promise_3_exactly_once.history import play
from tests.promise_3_exactly_once.test_following_model import WAYS, plays_happened

HISTORIES = int(os.environ.get("PBS_WATCH_HISTORIES", "5000"))
"""How many in all; those of the ordinary tests are not among them."""

FIRST = 1000


@pytest.mark.parametrize("way", WAYS)
def test_thousands_of_histories(way: str) -> None:
    renames, truncates, _ = WAYS[way]
    seeds = range(FIRST, FIRST + -(-HISTORIES // len(WAYS)))
    print("seeds", seeds)
    total: Counter[str] = Counter()
    for seed in seeds:
        total += play(seed, renames=renames, truncates=truncates)
    print(dict(total))
    plays_happened(total, len(seeds))
