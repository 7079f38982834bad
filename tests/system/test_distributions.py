"""What is installed is not the checkout that is tested: wheel and sdist must carry all of it.

The wheel is built out of the sdist, as distributions do it, so that the sdist has all that a build
needs.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from pbs_watch import __version__
from tests.daemon import LOGS, ROOT

PAGES = ("man8/pbs-watch.8", "man5/pbs-watch.toml.5", "man5/pbs-watch-patterns.5")

COMPLETING = """\
. "$0"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$(complete -p pbs-watch | sed 's/.*-F //; s/ .*//') pbs-watch "${COMP_WORDS[-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does when the last of the words is to be completed by the script."""


@dataclass(frozen=True, slots=True)
class Built:
    """Both files, and the environment that the wheel was installed into."""

    sdist: Path
    wheel: Path
    home: Path

    def run(self, *words: str | Path, cwd: Path) -> str:
        """What the installed program prints; nothing of the checkout is near."""
        program = self.home / "bin" / "pbs-watch"
        done = subprocess.run(
            [program, *words], cwd=cwd, env={"PATH": "/usr/bin:/bin"}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("distributions")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    home = folder / "venv"
    venv.create(home, with_pip=True)
    wheel = folder / f"pbs_watch-{__version__}-py3-none-any.whl"
    pip: list[str | Path] = [
        home / "bin" / "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    return Built(folder / f"pbs_watch-{__version__}.tar.gz", wheel, home)


def test_the_version_is_that_of_the_program(built: Built, tmp_path: Path) -> None:
    assert built.run("--version", cwd=tmp_path) == f"pbs-watch {__version__}\n"


def test_the_version_is_said_once() -> None:
    said = subprocess.run(
        ["grep", "-rlF", "--include=*", f'"{__version__}"', "pbs_watch", "packaging", "docs",
         "setup.py", "setup.cfg", "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    sources = [name for name in said.stdout.split() if "__pycache__" not in name]
    assert sources == ["pbs_watch/__init__.py"]


def test_a_bare_environment_finds_its_patterns(built: Built, tmp_path: Path) -> None:
    assert str(built.home) in built.run("check", cwd=tmp_path)
    log = LOGS / "courier-clean.bsd.log"
    assert len(built.run("replay", "--grants", log, cwd=tmp_path).splitlines()) > 5


def test_what_an_operator_needs_comes_along(built: Built) -> None:
    share = built.home / "share"
    example = share / "pbs-watch" / "pbs-watch.toml"
    assert example.read_bytes() == (ROOT / "packaging" / "pbs-watch.toml").read_bytes()
    for folder in ("grafana", "openrc", "prometheus", "systemd", "sysv"):
        for file in (ROOT / "packaging" / folder).iterdir():
            installed = share / "pbs-watch" / folder / file.name
            assert installed.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("page", PAGES)
def test_man_shows_the_pages_without_a_warning(built: Built, page: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", built.home / "share/man" / page],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in (built.home / "share/man" / page).read_text()


def test_a_shell_completes_commands_options_and_files(built: Built, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    script = built.home / "share/bash-completion/completions/pbs-watch"
    for line, expected in [
        ("pbs-watch re", {"rebuild", "reload", "replay", "revoke"}),
        ("pbs-watch list --per", {"--permanent"}),
        ("pbs-watch list --config mi", {"mine.toml"}),
        ("pbs-watch setup po", {"postfix"}),
    ]:
        words = line.split(" ")
        done = subprocess.run(
            ["bash", "-euc", COMPLETING, script, *words],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert set(done.stdout.split()) == expected


def test_the_sdist_holds_the_sources_and_no_more(built: Built) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    with tarfile.open(built.sdist) as archive:
        theirs = {
            member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()
        }
    made = {name for name in theirs if name == "PKG-INFO" or ".egg-info/" in name}
    assert theirs - made == ours


def test_the_wheel_holds_no_tests(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {
        "pbs_watch", f"pbs_watch-{__version__}.data", f"pbs_watch-{__version__}.dist-info",
    }  # fmt: skip
