"""From command-line arguments to settings, and from settings to the chain."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from typing import TYPE_CHECKING

from pbs_watch.config import Config, load
from pbs_watch.errors import ConfigError

if TYPE_CHECKING:
    from pbs_watch.chain import Chain
    from pbs_watch.pattern.format import Format


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
    from pbs_watch.pattern.scan import Scanner  # noqa: PLC0415

    formats = formats_of(config)
    return Chain(Scanner(formats, Clock(config.zone, year)), config.policy())


def formats_of(config: Config, *, parsed: bool = False) -> tuple[Format, ...]:
    """The formats that are looked for, which ``windows`` may name.

    ``parsed``: with all that their files say (:func:`pbs_watch.pattern.library.load`).
    Raises :class:`PatternError` and :class:`ConfigError`.
    """
    from pbs_watch.pattern import library  # noqa: PLC0415 - as for chain_of()

    formats = library.load(config.patterns, config.patterns_dir, parsed=parsed)
    names = [fmt.name for fmt in formats]
    for name in config.windows:
        if not name.startswith("@") and name not in names:
            raise ConfigError(
                f"windows: no format is called {name!r}; there are {', '.join(names)}; for the "
                f"users of a domain write @{name}"
            )
    return formats


def operator() -> str:
    """The account of whoever gave the command, as far as it can be told."""
    import pwd  # noqa: PLC0415 - `get` needs it not

    name = os.environ.get("SUDO_USER")
    if name is None:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    return name
