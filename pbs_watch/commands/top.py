"""``top``: what the daemon does now, again and again, until ``q`` or Ctrl-C.

On a terminal a page on the alternate screen; elsewhere a line of columns each time.  A daemon that
is restarted meanwhile is waited for.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pbs_watch.answer.client import NobodyAnswersError
from pbs_watch.commands.display import HEADING, columns
from pbs_watch.commands.settings import settings
from pbs_watch.commands.state import State, Step, step, taken
from pbs_watch.commands.status import complain, found_in, told
from pbs_watch.durations import local, seconds
from pbs_watch.errors import UsageError

_OFTENEST = 0.1
"""Seconds: more often than that nobody can read it, and the daemon has better to do."""

_HEADING_EVERY = 20
"""Lines of columns after which the heading is repeated, as by vmstat."""

_SLICE = 2
"""Tenths of a second in which a key or another size of the terminal is noticed."""

_DONE, _NOT_RUNNING = 0, 1


def run(arguments: argparse.Namespace) -> int:
    """Show the state until told to end, or ``--count`` times."""
    every = _interval(arguments.every)
    count: int | None = arguments.count
    if count is not None and count < 1:
        raise UsageError(f"--count {count}: write how many times, such as 5")
    path = settings(arguments).map
    watch = Watch(path)
    try:
        watch.look()
        if watch.problem is not None:
            found_in(path, watch.problem)
            complain(watch.problem)
            return _NOT_RUNNING
        if sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}:
            _on_screen(watch, every, count)
        else:
            _in_lines(watch, every, count)
    except KeyboardInterrupt:
        pass  # the ordinary way to end it
    return _DONE


def _interval(text: str) -> float:
    try:
        every = seconds(text)
    except UsageError as error:
        raise UsageError(f"--every: {error}") from None
    if every < _OFTENEST:
        raise UsageError(f"--every {text}: too often; write {_OFTENEST:g}s or more")
    return every


class Watch:
    """Looks at the daemon again and again.

    ``step``: since the look before, ``None`` before the first.  ``problem``: why the last look saw
    nothing.  ``notice``: what the operator should know, empty when all is well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: State | None = None
        self._lost = ""
        self._restarts = 0
        self.step: Step | None = None
        self.problem: NobodyAnswersError | None = None
        self.notice = ""

    def look(self) -> None:
        """Ask the daemon once."""
        try:
            state = taken(told(self._path))
        except NobodyAnswersError as error:
            if self.problem is None:
                self._lost = local(time.time())
            self.problem = error
            self.notice = f"no daemon answers since {self._lost}"
            if self._state is not None:
                self.step = Step(self._state)
            return
        if self._state is not None and self._state.same_process != state.same_process:
            self._restarts += 1
        times = f"{self._restarts} times" if self._restarts > 1 else "once"
        last = local(state.started)
        self.notice = f"the daemon was restarted {times}, last {last}" if self._restarts else ""
        self.problem = None
        self.step = step(state, self._state)
        self._state = state


def _in_lines(watch: Watch, every: float, count: int | None) -> None:
    due = time.monotonic()
    shown, said = 0, ""
    while count is None or shown < count:
        if shown % _HEADING_EVERY == 0:
            print(HEADING, flush=True)
        due = _next(due, every)
        time.sleep(max(due - time.monotonic(), 0.0))
        watch.look()
        if watch.notice != said:
            said = watch.notice
            print(f"pbs-watch: {said or 'the daemon answers again'}", file=sys.stderr, flush=True)
        clock = local(time.time())[-8:]
        print(columns(clock, watch.step if watch.problem is None else None), flush=True)
        shown += 1


def _next(due: float, every: float) -> float:
    """When to look next: on time, unless this machine or the daemon took longer than that."""
    return max(due + every, time.monotonic())


def _on_screen(watch: Watch, every: float, count: int | None) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, for terminals only
    from rich.live import Live  # noqa: PLC0415

    from pbs_watch.commands.page import Page  # noqa: PLC0415

    console = Console(highlight=False)
    screen = Live(
        console=console,
        screen=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with ExitStack() as leaving, _ending_signals():
        keys = Keys()
        leaving.callback(keys.restore)
        leaving.callback(screen.stop)
        # A second Ctrl-C must not leave the terminal half restored.
        leaving.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
        keys.take()
        screen.start()
        due = time.monotonic()
        shown = 0
        while True:
            size = console.size  # before it is drawn: what changes meanwhile is noticed below
            if watch.step is not None:
                screen.update(Page(watch.step, live=True, notice=watch.notice), refresh=True)
            shown += 1
            due = _next(due, every)
            while (left := due - time.monotonic()) > 0:
                if keys.pressed(left) in (b"q", b"Q"):
                    return
                if (resized := console.size) != size:
                    size = resized
                    screen.refresh()
            if count is not None and shown >= count:
                return
            watch.look()


@contextmanager
def _ending_signals() -> Iterator[None]:
    """Let the signals that end a program end this one by an exception, which restores things."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Keys:
    """Keys of the terminal at standard input, one by one and unseen, until :meth:`restore`."""

    def __init__(self) -> None:
        self._descriptor = 0 if os.isatty(0) else None
        self._before = termios.tcgetattr(self._descriptor) if self._descriptor is not None else None

    def take(self) -> None:
        """Read single keys from now on; Ctrl-C stays, Ctrl-Z would leave the screen as it is."""
        if self._descriptor is None:
            return
        mode = termios.tcgetattr(self._descriptor)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN] = 0
        mode[6][termios.VTIME] = _SLICE
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, mode)

    def pressed(self, longest: float) -> bytes:
        """The next key; nothing after a moment, at most ``longest`` seconds or so."""
        if self._descriptor is None:
            time.sleep(min(longest, _SLICE / 10))
            return b""
        return os.read(self._descriptor, 1)

    def restore(self) -> None:
        """Leave the terminal as it was."""
        if self._descriptor is not None and self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
