"""``make bench`` measures what it says: its quick form runs, and its numbers make sense."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ROOT, environment

LONGEST = 300.0
"""Seconds that the quick form may take, on a machine that has other things to do as well."""


def benchmarks(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``results.json`` holds after a quick run."""
    output = tmp_path_factory.mktemp("benchmarks")
    ended = benchmarks("--quick", "--output", output)
    assert ended.returncode == 0, ended.stderr
    assert "lookups over 10 connections" in ended.stdout
    assert (output / "results.rst").read_text().count("list-table") == 1
    # Nothing else is left: logs and maps are gigabytes.
    assert {path.suffix for path in output.iterdir()} <= {".json", ".rst", ".svg"}
    found: dict[str, Any] = json.loads((output / "results.json").read_text())
    return found


def rows(results: dict[str, Any]) -> dict[str, Any]:
    return {row["key"]: row for row in results["rows"]}


def test_every_comparison_has_its_contenders(results: dict[str, Any]) -> None:
    found = rows(results)
    assert set(found["scan-0.05"]["series"]) == {"pbs-watch", "grep -c", "rg -c"}
    assert set(found["match"]["series"]) == {
        "pbs-watch", "fail2ban-regex", "sshg-parser", "perl -ne",
    }  # fmt: skip
    assert set(found["lookups-10"]["series"]) == {"pbs-watch", "redis-server", "postsrsd"}


def test_every_number_was_measured(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        for who, series in row["series"].items():
            if row["key"] != "fresh-missed":
                assert min(series["runs"]) > 0, (row["key"], who)
            assert min(series["runs"]) <= series["median"] <= max(series["runs"])
        for target in row["targets"]:
            least, reached = target["at_least"], target["reached"]
            passed = reached >= target["limit"] if least else reached <= target["limit"]
            assert (target["verdict"] != "fail") == passed, row["key"]


def test_each_login_is_seen_by_the_lookup_after_it(results: dict[str, Any]) -> None:
    assert rows(results)["fresh-missed"]["series"]["pbs-watch"]["runs"] == [0]


def test_results_say_which_machine_and_versions(results: dict[str, Any]) -> None:
    machine = results["machine"]
    assert machine["cores"] >= 1
    assert {"Python", "redis-server", "postsrsd", "ripgrep"} <= set(machine["versions"])


def test_what_is_not_installed_is_said_in_one_line(tmp_path: Path) -> None:
    """With a path on which hardly anything is found."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", tmp_path],
        cwd=ROOT,
        env=environment(PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("benchmarks: apt-get install grep ripgrep ")
    assert ended.stderr.count("\n") == 1
