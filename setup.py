"""What setup.cfg cannot say: man pages, completions and compiled patterns are made by a build.

Man pages come from ``docs/man`` by docutils, completions from the parser of the command line by
shtab.  They are made where data files are installed, which every way of building passes: wheel,
``pip install``, Debian's pybuild, rpmbuild.  All goes below ``PREFIX/share``.  What was compiled of
the shipped patterns (``pbs_watch/pattern/compiled.py``) is installed with the modules; an editable
installation has none.

``python3 setup.py pages --folder DIR`` makes the man pages alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from setuptools import Command, Distribution, setup

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))  # a build with PEP 517 does not look here

from pbs_watch import __version__, cli  # noqa: E402
from pbs_watch.pattern import library  # noqa: E402

SHARED = {
    "share/pbs-watch": ["packaging/pbs-watch.toml"],
    "share/pbs-watch/grafana": ["packaging/grafana/*"],
    "share/pbs-watch/openrc": ["packaging/openrc/*"],
    "share/pbs-watch/prometheus": ["packaging/prometheus/*"],
    "share/pbs-watch/systemd": ["packaging/systemd/*"],
    "share/pbs-watch/sysv": ["packaging/sysv/*"],
}
"""Files that are installed as they are."""


def man_pages(folder: Path) -> list[Path]:
    """Write the man pages into a folder; returns their paths: ``FOLDER/pbs-watch.8``."""
    from docutils.core import publish_string  # noqa: PLC0415 - only where something is built

    pages = []
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((ROOT / "docs" / "man").glob("*.rst")):
        text = source.read_text().replace("@VERSION@", __version__)
        page = publish_string(
            text,
            source_path=str(source),
            writer_name="manpage",
            settings_overrides={"halt_level": 2, "output_encoding": "utf-8"},
        )
        section = text.partition(":Manual section:")[2].split()[0]
        pages.append(folder / f"{source.stem}.{section}")
        pages[-1].write_bytes(page)
    return pages


def completions(folder: Path) -> dict[str, Path]:
    """Write the completions for shells into a folder; returns where each is to be installed."""
    import shtab  # noqa: PLC0415 - only where something is built

    parser = cli.parser()
    _complete_files(shtab, parser)
    places = {"bash": ("share/bash-completion/completions", "pbs-watch")}
    places["zsh"] = ("share/zsh/site-functions", "_pbs-watch")
    written = {}
    for shell, (place, name) in places.items():
        written[place] = folder / shell / name
        written[place].parent.mkdir(parents=True, exist_ok=True)
        written[place].write_text(shtab.complete(parser, shell) + "\n")
    return written


def _complete_files(shtab: object, parser: argparse.ArgumentParser) -> None:
    """What an option takes is told by its metavar."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(shtab, command)
        elif action.metavar in {"FILE", "PATH"}:
            action.complete = shtab.FILE
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY


class Pages(Command):
    """Makes the man pages alone."""

    description = "make the man pages"
    user_options = [("folder=", None, "where to")]  # noqa: RUF012 - distutils wants a list

    def initialize_options(self) -> None:
        self.folder = "build/man"

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        for page in man_pages(Path(self.folder)):
            print(page)


class BuildModules(Distribution().get_command_class("build_py")):  # type: ignore[misc]
    """Copies the modules, and puts what was compiled of the patterns beside them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            library.write_compiled(Path(self.build_lib) / "pbs_watch" / "pattern" / "compiled")


class InstallData(Distribution().get_command_class("install_data")):  # type: ignore[misc]
    """Installs what is shared, and makes what is not kept in the repository."""

    def run(self) -> None:
        made = Path(self.get_finalized_command("build").build_temp) / "made"
        files = [
            (place, [str(path.relative_to(ROOT)) for one in globs for path in ROOT.glob(one)])
            for place, globs in SHARED.items()
        ]
        files += [(f"share/man/man{page.suffix[1:]}", [str(page)]) for page in man_pages(made)]
        files += [(place, [str(path)]) for place, path in completions(made).items()]
        self.data_files = files
        super().run()


# A list that is not empty makes distutils run the command above.
setup(
    data_files=[("share/pbs-watch", ["packaging/pbs-watch.toml"])],
    cmdclass={"build_py": BuildModules, "install_data": InstallData, "pages": Pages},
)
