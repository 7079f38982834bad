"""What ``make deb`` built, an older package made of it, and clean roots to install them in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbs_watch import __version__
from tests.package.root import BUILD, ROOT, Root, clean

OLDER = "0.0.1"


@pytest.fixture(scope="session")
def built() -> Path:
    """The package of this version in dist/."""
    path = ROOT / "dist" / f"pbs-watch_{__version__}_all.deb"
    assert path.exists(), "make deb makes it"
    return path


@pytest.fixture(scope="session")
def packages(built: Path) -> Path:
    """A folder with ``new.deb``, and ``old.deb``: of a lower version, with another example."""
    folder = BUILD / "packages"
    tree = BUILD / "older"
    for path in (folder, tree):
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(built, folder / "new.deb")
    subprocess.run(["dpkg-deb", "--raw-extract", built, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(
        control.read_text().replace(f"\nVersion: {__version__}\n", f"\nVersion: {OLDER}\n")
    )
    example = tree / "usr" / "share" / "pbs-watch" / "pbs-watch.toml"
    text = example.read_text()
    # Its comments differ, as those of other versions do.
    example.write_text(text.replace("# Configuration of pbs-watch.", "# The older one's words."))
    assert example.read_text() != text
    old = folder / "old.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tree, old], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return folder


@pytest.fixture
def root(packages: Path) -> Iterator[Root]:
    """A clean Debian."""
    with clean(packages) as made:
        yield made
