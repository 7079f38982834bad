"""An engine in this process, for what depends on what happens between two of its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pbs_watch.errors import SharedError
from pbs_watch.grants.records import Record, merged
from pbs_watch.shared.engine import Found, Mark, Shared


class Memory:
    """``calls``: the methods in the order of their calls; ``broken``: those that fail.

    ``before``: what is done once, just before a method does its work.
    """

    def __init__(self) -> None:
        self.identity = "one"
        self.started = 0.0
        self.version = 1
        self.logins: dict[tuple[bytes, bytes], Shared] = {}
        self.orders: dict[bytes, Record] = {}
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.before: dict[str, Callable[[], None]] = {}

    def restarts_empty(self, identity: str) -> None:
        self.identity, self.version = identity, 1
        self.logins, self.orders = {}, {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.before.pop(name, lambda: None)()
        if name in self.broken:
            raise SharedError(f"memory: {name} fails")

    def mark(self) -> Mark:
        self._called("mark")
        return Mark(self.identity, self.version, self.started)

    def put(self, logins: Sequence[Shared]) -> None:
        self._called("put")
        self.logins.update({(one.address, one.user): one for one in logins})

    def find(self, addresses: Sequence[bytes], now: float) -> Found:  # noqa: ARG002 - of the interface
        self._called("find")
        version = self.version
        found = {
            address: [one for one in self.logins.values() if one.address == address]
            for address in addresses
        }
        return Found(version, {address: logins for address, logins in found.items() if logins})

    def remove(self, record: Record) -> None:  # noqa: ARG002 - of the interface
        self._called("remove")

    def records(self) -> list[Record]:
        self._called("records")
        return list(self.orders.values())

    def put_records(self, records: Sequence[Record], now: float) -> None:  # noqa: ARG002 - of the interface
        self._called("put_records")
        for record in records:
            new = merged(self.orders.get(record.key), record)
            if new != self.orders.get(record.key):
                self.orders[record.key] = new
                self.version += 1

    def forget(self, user: bytes) -> None:  # noqa: ARG002 - of the interface
        self._called("forget")

    def all(self, now: float) -> Iterator[Shared]:  # noqa: ARG002 - of the interface
        return iter(self.logins.values())

    def expire(self, now: float) -> int:  # noqa: ARG002 - of the interface
        return 0

    def close(self) -> None:
        self.calls.append("close")

    def addresses(self) -> set[bytes]:
        return {address for address, _ in self.logins}
