"""Opens the engine that the settings name; its library is imported here, and only then."""

from __future__ import annotations

from pbs_watch.errors import ConfigError
from pbs_watch.shared.engine import Engine
from pbs_watch.shared.where import Where

_LIBRARIES = {"redis": "redis", "mysql": "PyMySQL"}


def engine(where: Where, window: float) -> Engine:
    """An engine, not yet connected; ``window``: seconds that a login grants.

    Raises :class:`ConfigError` where its library is missing.
    """
    try:
        if where.engine == "redis":
            from pbs_watch.shared.redis_engine import RedisEngine  # noqa: PLC0415 - optional

            return RedisEngine(where)
        from pbs_watch.shared.sql_engine import SqlEngine  # noqa: PLC0415 - optional

        return SqlEngine(where, window)
    except ModuleNotFoundError as error:
        name = _LIBRARIES[where.engine]
        raise ConfigError(
            f"shared: the library {name} is not installed ({error}); on Debian: apt-get install "
            f"python3-{name.lower()}; elsewhere: pip install 'pbs-watch[shared]'"
        ) from None
