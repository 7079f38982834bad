"""Redis or Valkey as the engine.

=========================  =======================================================================
key                        holds
=========================  =======================================================================
``pbs-watch:grant:ADDR``   a hash: for each user ``EXPIRES LOGIN SERVICE``, times in microseconds;
                           the server itself removes the key when its last login expires
``pbs-watch:orders``       a hash: records of orders by their subjects
``pbs-watch:version``      grows with each change of the orders
``pbs-watch:epoch``        a random name given to the data when they began
=========================  =======================================================================

A login is written by a script (atomic, and repeating it does no harm); a question is one pipeline
of scripts, one round trip however many addresses it names.  The scripts and the hash of one address
have one key, so that addresses could be spread over a cluster.  What others wrote there concerns
that address alone, and makes way for the next login.

Promises of Redis: replication to replicas is asynchronous, and a server without persistence forgets
all when it restarts.  Therefore :meth:`RedisEngine.mark` has the server's run_id: where it is
another one than before, every host offers again what it knows.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import redis

from pbs_watch.errors import SharedError
from pbs_watch.grants import rows
from pbs_watch.grants.records import Record, merged, pack
from pbs_watch.shared.engine import USERS_KEPT, Found, Mark, Shared, seconds
from pbs_watch.shared.legible import Legible
from pbs_watch.shared.redis_client import advice, client
from pbs_watch.shared.redis_scripts import GET, LARGEST, NAMES, PUT
from pbs_watch.shared.where import Where

log = logging.getLogger("pbs_watch")

GRANT, ORDERS, VERSION, EPOCH = (
    b"pbs-watch:grant:",
    b"pbs-watch:orders",
    b"pbs-watch:version",
    b"pbs-watch:epoch",
)

_OF_ONE = ("WRONGTYPE", "is not an integer", "invalid expire time")
"""Errors that concern one login alone: to send it again is of no use, and the others are there."""

_SCANNED = 1000
"""Keys that one step of a walk over all of them looks at."""

_TRIES = 20
"""How often a change of the orders is tried while other hosts change them too."""


class RedisEngine:
    """An :class:`~pbs_watch.shared.engine.Engine`."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._client = client(where)
        self._legible = Legible()
        self._untold = False
        """Whether it was said that a login cannot be told."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            # A connection is closed by its errors, and Sentinels are asked anew for the next one.
            raise SharedError(f"{self._where}: {advice(error)}") from None
        except OSError as error:
            raise SharedError(f"{self._where}: cannot be reached ({error})") from None
        except (ValueError, TypeError) as error:
            raise SharedError(f"{self._where}: holds what is not ours ({error})") from None

    def mark(self) -> Mark:
        """See :meth:`Engine.mark`."""
        with self._errors():
            name = secrets.token_hex(8)
            pipeline = self._client.pipeline(transaction=False)
            pipeline.set(EPOCH, name, nx=True).get(EPOCH).get(VERSION).info("server")
            _, epoch, version, server = pipeline.execute()
            identity = f"{(epoch or b'').decode('ascii', 'replace')} {server['run_id']}"
            return Mark(identity, int(version or 0))

    def put(self, logins: Sequence[Shared]) -> None:
        """See :meth:`Engine.put`."""
        calls = []
        for address, user, service, login, expires in logins:
            if expires is None:
                raise SharedError(f"{self._where}: what is permanent is an order")
            words = (user, rows.micros(expires), rows.micros(login), service, USERS_KEPT, LARGEST)
            calls.append((address, *words))
        with self._errors():
            for (address, *_), said in zip(calls, self._run(PUT, calls), strict=False):
                if isinstance(said, redis.RedisError):
                    if not any(one in str(said) for one in _OF_ONE):
                        raise said
                    self._tell_untold(address, said)

    def _tell_untold(self, address: bytes, error: Exception) -> None:
        if not self._untold:
            self._untold = True
            log.warning(
                "%s: cannot be told of %s, and of others perhaps (%s); other hosts do not know it",
                self._where, address.decode("ascii", "replace"), error,
            )  # fmt: skip

    def _run(self, script: str, calls: Sequence[Sequence[Any]], *more: str | bytes) -> list[Any]:
        """What a script says for each key and its words, then the values of more keys; errors too.

        By hand: the library's own way asks each time whether the script is there.
        """
        for again in (True, False):
            pipeline = self._client.pipeline(transaction=False)
            for address, *words in calls:
                pipeline.execute_command("EVALSHA", NAMES[script], 1, GRANT + address, *words)
            for key in more:
                pipeline.get(key)
            said: list[Any] = pipeline.execute(raise_on_error=False)
            if not any(isinstance(one, redis.exceptions.NoScriptError) for one in said):
                break
            if again:
                # The first time, and after a restart or a failover.
                self._client.script_load(script)
        return said

    def find(self, addresses: Sequence[bytes], now: float) -> Found:
        """See :meth:`Engine.find`."""
        with self._errors():
            calls = [(address, LARGEST) for address in addresses]
            *hashes, version = said = self._run(GET, calls, VERSION)
            for one in said:
                if isinstance(one, redis.RedisError):
                    raise one
            found = {
                address: logins
                for address, fields in zip(addresses, hashes, strict=True)
                if (logins := _logins(address, fields, now))
            }
            return Found(int(version or 0), found)

    def remove(self, record: Record) -> None:
        """Nothing: only hosts that know the bar read the hashes, and those are gone in a window."""

    def records(self) -> list[Record]:
        """See :meth:`Engine.records`."""
        with self._errors():
            found = self._client.hgetall(ORDERS)
            return list(self._legible.read(self._where, found.items()).values())

    def put_records(self, records: Sequence[Record], now: float) -> None:
        """See :meth:`Engine.put_records`."""
        self._change_orders(partial(self._merge, records=records, now=now))

    def _change_orders(self, change: Callable[[dict[bytes, bytes], Any], bool]) -> None:
        """Change the hash while nobody else does; ``change`` queues it and says whether it did."""
        with self._errors():
            for _ in range(_TRIES):
                with self._client.pipeline() as pipeline:
                    try:
                        pipeline.watch(ORDERS)
                        known: dict[bytes, bytes] = pipeline.hgetall(ORDERS)
                        pipeline.multi()
                        if change(known, pipeline):
                            pipeline.incr(VERSION)
                            pipeline.execute()
                    except redis.WatchError:
                        continue
                    return
            raise SharedError(f"{self._where}: other hosts change the orders all the time")

    def _merge(
        self,
        found: dict[bytes, bytes],
        pipeline: Any,
        *,
        records: Sequence[Record],
        now: float,
    ) -> bool:
        changed = False
        known = self._legible.read(self._where, found.items())
        for record in records:
            new = merged(known.get(record.key), record)
            if new != known.get(record.key):
                known[record.key] = new
                pipeline.hset(ORDERS, record.key, pack(new))
                changed = True
        for key, record in known.items():
            if record.over(now):
                pipeline.hdel(ORDERS, key)
                changed = True
        return changed

    def forget(self, user: bytes) -> None:
        """See :meth:`Engine.forget`."""
        with self._errors():
            for key in self._keys():
                self._client.hdel(key, user)
        name = b"BU" + user

        def drop(known: dict[bytes, bytes], pipeline: Any) -> bool:
            if name in known:
                pipeline.hdel(ORDERS, name)
            return name in known

        self._change_orders(drop)

    def all(self, now: float) -> Iterator[Shared]:
        """See :meth:`Engine.all`."""
        with self._errors():
            for key in self._keys():
                address = key.removeprefix(GRANT)
                (fields,) = self._run(GET, [(address, LARGEST)])
                if isinstance(fields, redis.RedisError):
                    raise fields
                yield from _logins(address, fields, now)

    def _keys(self) -> Iterator[bytes]:
        found: Iterator[bytes] = self._client.scan_iter(
            match=GRANT + b"*", count=_SCANNED, _type="hash"
        )
        return found

    def expire(self, now: float) -> int:  # noqa: ARG002 - of the interface
        """Nothing: the server removes each key in time."""
        return 0

    def setting(self, name: str) -> str | None:
        """A setting of the server; ``None`` where the user may not ask."""
        try:
            found: dict[str, str] = self._client.config_get(name)
        except redis.ResponseError:
            return None
        except (redis.RedisError, OSError):
            return None
        return found.get(name)

    def section(self, name: str) -> dict[str, object]:
        """A section of what the server tells of itself (INFO)."""
        with self._errors():
            found: dict[str, object] = self._client.info(name)
            return found

    def clock(self) -> float:
        """The server's time, in epoch seconds."""
        with self._errors():
            seconds, micros = self._client.time()
            return float(seconds) + float(micros) / 1e6

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        try:
            self._client.connection_pool.disconnect()
        except (redis.RedisError, OSError):
            return


def _logins(address: bytes, fields: Sequence[bytes], now: float) -> list[Shared]:
    """The logins of a hash that expire after ``now``, the last to expire first."""
    found = []
    for user, value in zip(fields[::2], fields[1::2], strict=True):
        with suppress(ValueError):  # a field that is none of ours
            expires, login, service = value.split(b" ", 2)
            one = Shared(address, user, service, seconds(login), seconds(expires))
            if one.expires is not None and one.expires > now:
                found.append(one)
    return sorted(found, key=lambda one: one.expires or 0.0, reverse=True)[:USERS_KEPT]
