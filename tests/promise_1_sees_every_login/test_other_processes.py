"""What the daemon commits, another process sees in its next lookup, and the other way round."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.store import Map

ADDRESS = b"198.18.0.1"

READER = """
import sys, time
from pathlib import Path
from pbs_watch.grants.store import Map
grants = Map(Path(sys.argv[1]), "read")
for line in sys.stdin:
    print(int(grants.allows(line.strip().encode(), time.time())), flush=True)
"""

WRITER = """
import sys, time
from pathlib import Path
from pbs_watch.grants.changes import Changes, grant
from pbs_watch.grants.store import Map
grants = Map(Path(sys.argv[1]), "write")
for line in sys.stdin:
    changes = Changes()
    changes.login(line.strip().encode(), grant(time.time() + 60, time.time(), b"bob", b"pop3d"))
    grants.commit(changes)
    print("done", flush=True)
"""


@contextmanager
def other(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def ask(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def commit(grants: Map, address: bytes, seconds: float = 60) -> None:
    changes = Changes()
    now = time.time()
    changes.login(address, grant(now + seconds, now, b"bob", b"pop3d"))
    grants.commit(changes)


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[Map]:
    opened = Map(tmp_path / "map", "daemon")
    yield opened
    opened.close()


def test_another_process_sees_each_commit_in_its_next_lookup(grants: Map) -> None:
    with other(READER, grants.path) as reader:
        for number in range(50):
            address = f"198.18.1.{number}"
            assert ask(reader, address) == "0"
            commit(grants, address.encode())
            assert ask(reader, address) == "1"


def test_the_daemon_sees_each_commit_of_another_process_in_its_next_lookup(grants: Map) -> None:
    with other(WRITER, grants.path) as writer:
        for number in range(50):
            address = f"198.18.2.{number}"
            assert not grants.allows(address.encode(), time.time())
            assert ask(writer, address) == "done"
            assert grants.allows(address.encode(), time.time())
            commit(grants, b"198.18.3.1")


@pytest.mark.parametrize("key", ["198.18.0.1", "::ffff:198.18.0.1"])
def test_the_command_finds_what_the_daemon_committed(grants: Map, key: str) -> None:
    command = [sys.executable, "-m", "pbs_watch", "get", key, "--map", str(grants.path)]
    root = Path(__file__).parents[2]
    before = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (before.returncode, before.stdout) == (1, "")
    commit(grants, ADDRESS)
    after = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (after.returncode, after.stdout) == (0, "OK\n")
