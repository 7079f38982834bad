"""A connection of PyMySQL that sends no password to whom it cannot be sure of.

Whether there is TLS a MySQL server says in its greeting, in plain text: who sits on the way strikes
that out.  PyMySQL before 1.2 then goes on without TLS, and any version tells its password in plain
text to a server that asks for it so (``mysql_clear_password``, ``dialog``).
"""

from __future__ import annotations

from typing import Any

import pymysql
from pymysql.constants import CLIENT, CR

from pbs_watch.shared.engine import PATIENCE
from pbs_watch.shared.where import Server, Where

_IN_CLEAR = frozenset({b"mysql_clear_password", b"dialog"})
"""Ways of authentication by which the password itself is sent."""


class Connection(pymysql.connections.Connection):  # type: ignore[misc]
    """``with_tls``: whether there has to be TLS."""

    def __init__(self, *, with_tls: bool, **words: Any) -> None:
        self._with_tls = with_tls
        super().__init__(**words)

    def _request_authentication(self) -> None:
        if self._with_tls and not self.server_capabilities & CLIENT.SSL:
            raise _refused("the server offers no TLS")
        super()._request_authentication()
        if self._with_tls and not hasattr(self._sock, "getpeercert"):
            raise _refused("there is no TLS on this connection")

    def _process_auth(self, plugin_name: bytes, *rest: Any, **words: Any) -> Any:
        if plugin_name in _IN_CLEAR and not self._secure:
            raise _refused("the server asks for the password in plain text, without TLS")
        return super()._process_auth(plugin_name, *rest, **words)


def _refused(text: str) -> Exception:
    error: Exception = pymysql.err.OperationalError(CR.CR_SSL_CONNECTION_ERROR, text)
    return error


def connect(where: Where, server: Server) -> Any:
    """A new connection; raises what PyMySQL does, OSError or RuntimeError."""
    words: dict[str, Any] = {}
    if server.socket:
        words["unix_socket"] = server.socket
    elif where.tls is not None:
        import ssl  # noqa: PLC0415 - where it is used

        context = ssl.create_default_context(cafile=where.tls.ca or None)
        if where.tls.cert:
            context.load_cert_chain(where.tls.cert, where.tls.key or where.tls.cert)
        words["ssl"] = context
    return Connection(
        with_tls="ssl" in words,
        host=server.host,
        port=server.port,
        user=where.user,
        password=where.password,
        database=where.database,
        charset="utf8mb4",
        binary_prefix=True,
        autocommit=True,
        connect_timeout=PATIENCE,
        read_timeout=PATIENCE,
        write_timeout=PATIENCE,
        # Too long a value is refused, and not cut into another address.
        sql_mode="STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
        **words,
    )
