"""From command-line arguments to settings, and from settings to the chain."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

from pbs_watch.config import Config, load

if TYPE_CHECKING:
    from pbs_watch.chain import Chain


def settings(arguments: argparse.Namespace) -> Config:
    """The settings of the file, with what the command line says over them."""
    names = {field.name for field in fields(Config)}
    said = {name: value for name, value in vars(arguments).items() if name in names}
    return load(arguments.config, said)


def chain_of(config: Config, year: int | None = None) -> Chain:
    """The chain for log files; ``year`` is that of the first line.

    Raises :class:`PatternError`.
    """
    from pbs_watch.chain import Chain  # noqa: PLC0415 - `get` needs none of these
    from pbs_watch.log.clock import Clock  # noqa: PLC0415
    from pbs_watch.pattern import library  # noqa: PLC0415
    from pbs_watch.pattern.scan import Scanner  # noqa: PLC0415

    formats = library.load(config.patterns, config.patterns_dir)
    return Chain(Scanner(formats, Clock(config.zone, year)), config.policy())
