"""Scanning a large file with several processes.

Each process scans every n-th segment and sends what it found; the caller judges it in order.  That
gives the same as scanning the whole file, because finding a line depends on no other (lines are
joined by the caller), except where
lines are cut: a segment with a cut, or one that begins while some tag is under doubt, is scanned
again in order by the caller.

The processes are forked, so they share the compiled patterns, and end with their segments.  A
pipe holds little, so a process that is ahead waits, and memory stays flat.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from pbs_watch.grants.events import End, Event, Login, NearMiss, Part, Scanned

_LENGTH = 8
"""Bytes of the length before each message of a process."""

_KINDS: dict[int, type[Event | Part]] = {len(kind._fields): kind for kind in (Login, End, Part)}
"""What a process sends, by its number of fields."""

Scan = Callable[[int], Scanned | None]
"""Scans a segment, by its number; ``None`` where it held a cut."""


@contextmanager
def scans(segments: int, scan: Scan, processes: int) -> Iterator[Iterator[Scanned | None]]:
    """What each segment holds, in order; ``None``: scan it in order.

    A process that fails ends; its segments then come as ``None`` too.
    """
    pipes: list[BinaryIO] = []
    children: list[int] = []
    try:
        for number in range(processes):
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                os.close(reading)
                _work(range(number, segments, processes), scan, writing)
            os.close(writing)
            pipes.append(os.fdopen(reading, "rb"))
            children.append(child)
        yield (_receive(pipes[segment % processes]) for segment in range(segments))
    finally:
        # A process whose pipe is closed ends at its next message.
        for pipe in pipes:
            pipe.close()
        for child in children:
            os.waitpid(child, 0)


def _work(segments: Sequence[int], scan: Scan, writing: int) -> None:
    """In the forked process: work and leave, without any of the parent's cleaning up."""
    try:
        with os.fdopen(writing, "wb") as pipe:
            for segment in segments:
                scanned = scan(segment)
                message = b"" if scanned is None else marshal.dumps(_plain(scanned))
                pipe.write(len(message).to_bytes(_LENGTH) + message)
                pipe.flush()
    finally:
        os._exit(0)


def _receive(pipe: BinaryIO) -> Scanned | None:
    length = int.from_bytes(pipe.read(_LENGTH))
    message = pipe.read(length)
    if not length or len(message) < length:
        return None
    lines, fields, latest, near, nears = marshal.loads(message)  # noqa: S302 - our own child's
    events = [_event(one) for one in fields]
    misses = [NearMiss(*one) for one in near]
    return Scanned(lines, events, [], [], latest, misses, nears)


def _plain(scanned: Scanned) -> tuple[Any, ...]:
    """As marshal takes it: no types of ours.  Without cuts nothing is suspect."""
    events = [tuple(event) for event in scanned.events]
    near = [tuple(miss) for miss in scanned.near]
    return scanned.lines, events, scanned.latest, near, scanned.nears


def _event(fields: tuple[object, ...]) -> Event | Part:
    return tuple.__new__(_KINDS[len(fields)], fields)
