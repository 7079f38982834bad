"""The real program under strace, which makes chosen system calls slow or lets them fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import daemon


@contextmanager
def injected(trace: Path, *faults: str, only: Path | None = None) -> Iterator[None]:
    """Programs that are started meanwhile meet ``faults``, such as ``fdatasync:error=EIO``.

    ``only`` where they call for that file.  What they called, and how it went, is written to
    ``trace``.  Only the calls named are stopped at; everything else goes at full speed.  strace is
    a grandchild: the program's process is the one that was started, and can be signalled.
    """
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    tracer = ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={calls}"]
    for fault in faults:
        tracer += ["-e", f"inject={fault}"]
    if only is not None:
        tracer += ["-P", str(only)]
    plain = daemon.PROGRAM
    daemon.PROGRAM = [*tracer, *plain]
    try:
        yield
    finally:
        daemon.PROGRAM = plain
