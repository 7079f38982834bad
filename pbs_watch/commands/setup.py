"""``setup``: Postfix's, Courier's and our own settings: shown, changed and changed back."""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import fields
from pathlib import Path

from pbs_watch import files
from pbs_watch.commands.forms import counted
from pbs_watch.commands.settings import settings
from pbs_watch.config import DEFAULT_PATH, Config
from pbs_watch.errors import ConfigError, ListenError, UsageError
from pbs_watch.setup import restrictions, tcpdopts, toml
from pbs_watch.setup.postfix import Postfix
from pbs_watch.values import KINDS

_COURIER = Path("/etc/courier")


def postfix(arguments: argparse.Namespace) -> int:
    """Show, make or undo the change of main.cf; 1 where something of it has to stay."""
    server = Postfix(arguments.postfix_config)
    if arguments.undo:
        return _undo(server)
    table = arguments.table or _table(settings(arguments), server)
    change = server.plan(table)
    if change is None:
        print(f"{restrictions.LIST} asks {table} already")
        return 0
    print(f"{restrictions.NAME} = {change.check}")
    print(f"{restrictions.LIST} = {change.restrictions}")
    if arguments.apply:
        server.apply(change)
        print("written to main.cf; now run: postfix reload")
    else:
        print("to write this to main.cf: pbs-watch setup postfix --apply")
    own = server.overriding()
    if own:
        print(f"not changed, as master.cf says them for single services: {', '.join(own)}")
    return 0


def _undo(server: Postfix) -> int:
    others = server.others()
    if server.undo():
        print("taken out of main.cf; now run: postfix reload")
    else:
        print("nothing of ours is in main.cf")
    if others:
        print(restrictions.others(others))
    return 1 if others else 0


def _table(config: Config, server: Postfix) -> str:
    """How Postfix calls the first address where the daemon answers."""
    tables = config.listening()
    if tables:
        return f"tcp:{tables[0]}"
    first = config.socketmap[0]
    if first.startswith("unix:"):
        return f"socketmap:unix:{server.seen(first.removeprefix('unix:'))}:relay"
    return f"socketmap:inet:{first}:relay"


def courier(arguments: argparse.Namespace) -> int:
    """Show, make or undo the change of Courier's files."""
    folder: Path = arguments.courier_config or _COURIER
    changed = 0
    found = False
    for service in tcpdopts.SERVICES:
        path = folder / service
        try:
            old = path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); be root") from None
        found = True
        if arguments.undo:
            new = tcpdopts.undo(old)
        else:
            new = old if tcpdopts.cured(old) else tcpdopts.cure(old, service)
        if new == old:
            print(f"{path}: nothing to do")
            continue
        changed += 1
        if arguments.undo or arguments.apply:
            files.replace(path, [new.encode("utf-8", "surrogateescape")], 0o644)
            print(f"{path}: changed")
        else:
            print(f"{path}: would have at its end\n{tcpdopts.lines(service)}", end="")
    if not found:
        raise UsageError(
            f"{folder}: none of {', '.join(tcpdopts.SERVICES)} is there; is it Courier's?"
        )
    if changed and not (arguments.undo or arguments.apply):
        print("to write this: pbs-watch setup courier --apply")
    elif changed:
        print(f"{counted(changed, 'file')} changed; now restart Courier's services")
    return 0


def config(arguments: argparse.Namespace) -> int:
    """Set single settings in the configuration file."""
    path: Path = arguments.config or DEFAULT_PATH
    try:
        with path.open(encoding="utf-8", newline="") as file:
            old = file.read()
        new = toml.change(old, dict(map(_said, arguments.settings)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML ({error}); see pbs-watch check") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); look at --config") from None
    except UsageError as error:
        raise ConfigError(f"{path}: {error}") from None
    if new != old:
        files.replace(path, [new.encode()], 0o644)
    return 0


def _said(text: str) -> tuple[str, toml.Value | None]:
    """``SETTING=VALUE``, as the file is to say it; ``None`` where it is to say nothing."""
    name, equals, said = text.partition("=")
    defaults = {field.name: getattr(Config(), field.name) for field in fields(Config)}
    if not equals or name not in defaults:
        raise UsageError(f"{text!r} is not SETTING=VALUE; the settings are in pbs-watch.toml(5)")
    if not said:
        return name, None
    default = defaults[name]
    value: toml.Value = said
    if isinstance(default, bool):
        value = {"true": True, "false": False}.get(said, said)
    elif isinstance(default, int):
        value = int(said) if said.isdecimal() else said
    elif isinstance(default, tuple):
        items = [item.strip() for item in said.split(",")]
        value = [int(item) for item in items] if name == "witness_ports" else items
    elif isinstance(default, dict):
        raise UsageError(f"{name} is a table; edit the file")
    try:
        KINDS[name](value)
    except (UsageError, ListenError, ConfigError) as error:
        raise UsageError(f"{name}: {error}") from None
    return name, value
