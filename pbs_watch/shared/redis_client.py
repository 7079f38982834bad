"""How Redis or Valkey is reached: one server, or the master that Sentinels name; TLS.

No call waits longer than :data:`~pbs_watch.shared.engine.PATIENCE` for a server, and none is tried
again by the library: who asks knows how long that may take.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from pbs_watch.shared.engine import PATIENCE
from pbs_watch.shared.where import Server, Where


class _LocalOnly:
    """Goes to no master on another host: where ours is named, the Sentinels may name another."""

    def connect_to(self, address: tuple[str, int]) -> None:
        """Connect to a server that a Sentinel has named."""
        found = Server(str(address[0]), int(address[1]))
        if not found.local:
            raise redis.ConnectionError(
                f"the Sentinels name {found}, which is not on this host: write rediss+sentinel:, "
                "and put the password into a file that shared_password_file names"
            )
        super().connect_to(address)  # type: ignore[misc]


class _Plain(_LocalOnly, SentinelManagedConnection):  # type: ignore[misc]
    pass


class _Tls(_LocalOnly, SentinelManagedSSLConnection):  # type: ignore[misc]
    pass


def client(where: Where) -> Any:
    """A client of the server or of the Sentinels' master; connects when it is used."""
    words: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "socket_keepalive": True,
        # Trying again is for who knows how long it may take; later versions would by themselves.
        "retry": Retry(NoBackoff(), 0),
        "username": where.user or None,
        "password": where.password or None,
    }
    if where.tls is not None:
        words |= {
            "ssl": True,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": where.tls.ca or None,
            "ssl_certfile": where.tls.cert or None,
            "ssl_keyfile": where.tls.key or where.tls.cert or None,
        }
    database = int(where.database)
    if where.sentinel:
        known = [(server.host, server.port) for server in where.servers]
        sentinel = Sentinel(known, sentinel_kwargs=words, db=database, **words)
        if where.tls is not None and where.password:
            return sentinel.master_for(where.sentinel)
        kind = _Plain if where.tls is None else _Tls
        return sentinel.master_for(where.sentinel, connection_class=kind)
    server = where.servers[0]
    return redis.Redis(host=server.host, port=server.port, db=database, **words)


def advice(error: redis.RedisError) -> str:
    """What the library says, as a line that says what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, redis.exceptions.AuthenticationError) or text.startswith("WRONGPASS"):
        return f"does not accept the user or the password ({text}); see shared_password_file"
    if "NOPERM" in text or "no permissions" in text:
        return f"the user lacks rights ({text}); docs/shared.rst has the line for ACL SETUSER"
    if isinstance(error, redis.TimeoutError):
        return f"does not answer within {PATIENCE:g} s"
    if isinstance(error, redis.ConnectionError):
        return f"cannot be reached ({text})"
    return f"says: {text}"
