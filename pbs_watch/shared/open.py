"""Opens the engine that the settings name; its library is imported here, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pbs_watch.config import Config
from pbs_watch.errors import ConfigError
from pbs_watch.shared.engine import Engine
from pbs_watch.shared.where import Where, where

if TYPE_CHECKING:
    from pbs_watch.shared.redis_engine import RedisEngine
    from pbs_watch.shared.sql_engine import SqlEngine


def engine(place: Where, window: float) -> Engine:
    """An engine, not yet connected; ``window``: seconds that a login grants.

    Raises :class:`ConfigError` where its library is missing.
    """
    return redis_engine(place) if place.engine == "redis" else sql_engine(place, window)


def require(config: Config) -> None:
    """Import what the settings ask for, so that it is there when an engine is made.

    Raises :class:`ConfigError`, also where the settings name no engine that can be used.
    """
    if config.shared:
        engine(where(config), config.window).close()


def redis_engine(place: Where) -> RedisEngine:
    """Redis or Valkey; raises :class:`ConfigError`."""
    with _library("redis", "python3-redis"):
        from pbs_watch.shared.redis_engine import RedisEngine  # noqa: PLC0415 - optional

    return RedisEngine(place)


def sql_engine(place: Where, window: float) -> SqlEngine:
    """MariaDB or MySQL; raises :class:`ConfigError`."""
    with _library("PyMySQL", "python3-pymysql"):
        from pbs_watch.shared.sql_engine import SqlEngine  # noqa: PLC0415 - optional

    return SqlEngine(place, window)


@contextmanager
def _library(name: str, package: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"shared: the library {name} is not installed ({error}); on Debian: apt-get install "
            f"{package}; elsewhere, from the source's folder: pip install '.[shared]'"
        ) from None
