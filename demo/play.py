# ruff: noqa: INP001 - a script, not part of a package
"""Show pbs-watch at work: what ``make run`` runs.

Follows /var/log/mail.log where it can be read.  Elsewhere a real Courier log of tests/fixtures
plays into a scratch file, restamped to now: all of it within half a minute, and then over again at
a calm pace.  Everything lies below run/, which git ignores; the scratch folder goes when it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "fixtures" / "logs" / "courier-clean.rfc3339.log"
MAIL_LOG = Path("/var/log/mail.log")
RUN = ROOT / "run"
HOST = "127.0.0.1"
PORT = 10041
EXAMPLE = "198.18.110.1"
FIRST_ROUND = 30.0  # seconds in which the recorded log plays once
LATER_PACE = 2.0  # seconds between two lines afterwards
LOOK = 2.0  # seconds between two looks at the grants
START = 15.0  # seconds the daemon may take to answer first
NAMED = 2  # grants named in a line of output; of more, only the number

PYTHON_ASK = (
    "import socket; s = socket.create_connection(('{host}', {port})); "
    "s.sendall(b'get {address}\\n'); print(s.recv(4096).decode())"
)


class DaemonError(Exception):
    """The daemon ended by itself, or never answered."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line: for every command, and for ``run`` alone."""

    every: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Player:
    """Appends the recorded lines to ``target``, each stamped with the time it is written."""

    target: Path
    lines: list[str]
    due: float
    played: int = 0

    def play(self, now: float) -> bool:
        """Write the lines that are due at ``now`` (a monotonic time in seconds).

        Returns whether this ended the first round.
        """
        before = self.played
        first_pace = FIRST_ROUND / len(self.lines)
        with self.target.open("a", encoding="ascii") as file:
            while self.due <= now:
                rest = self.lines[self.played % len(self.lines)].partition(" ")[2]
                stamp = datetime.now(UTC).isoformat(timespec="microseconds")
                file.write(f"{stamp} {rest}\n")
                self.played += 1
                self.due += first_pace if self.played < len(self.lines) else LATER_PACE
        return before < len(self.lines) <= self.played


@dataclass(slots=True)
class Daemon:
    """A running ``pbs-watch run`` and what has been seen of its grants."""

    process: subprocess.Popen[bytes]
    map: Path
    printed: Path
    port: int
    options: Options
    seen: set[str] = field(default_factory=set)

    def ask(self, address: str) -> str:
        """Return the daemon's answer to one lookup over tcp_table."""
        with socket.create_connection((HOST, self.port), timeout=5) as link:
            link.sendall(f"get {address}\n".encode())
            return link.makefile().readline().rstrip("\n")

    def check(self) -> None:
        """Raise :class:`DaemonError` with what the daemon said last if it no longer runs."""
        if self.process.poll() is not None:
            raise DaemonError(self.printed.read_text(errors="replace").strip()[-2000:])

    def wait(self) -> None:
        """Wait until lookups are answered."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError):
                self.ask("127.0.0.1")
                return
            time.sleep(0.05)
        raise DaemonError(f"no answer on port {self.port} within {START:.0f} s")

    def new_grants(self) -> list[dict[str, object]]:
        """Return the grants that were not there before, as ``pbs-watch list --json`` says them."""
        command = [sys.executable, "-m", "pbs_watch", "list", "--json", "--map", str(self.map)]
        command += self.options.every
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        self.check()
        if done.returncode != 0:
            return []
        fresh = [grant for grant in json.loads(done.stdout) if grant["address"] not in self.seen]
        self.seen.update(grant["address"] for grant in fresh)
        return fresh


def clock(seconds: float) -> str:
    """Return a time of day, local, as people read it."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}"


def say(text: str) -> None:
    """Print a line with the time in front."""
    print(f"{clock(time.time())}  {text}", flush=True)


def say_grants(grants: list[dict[str, object]], total: int) -> None:
    """Print one line for what was newly granted."""
    named = ", ".join(f"{grant['address']} ({grant['user']})" for grant in grants[:NAMED])
    more = f" and {len(grants) - NAMED} more" if len(grants) > NAMED else ""
    latest = max((float(str(g["expires"])) for g in grants if g["expires"] is not None), default=0)
    until = f" until {clock(latest)}" if latest else ""
    say(f"{named}{more} may relay{until} ({total} in all)")


def how_to_ask(port: int, address: str) -> None:
    """Print three ways to ask the daemon, as they can be pasted into a shell."""
    one_line = PYTHON_ASK.format(host=HOST, port=port, address=address)
    print("\nIn another terminal, ask whether an address may relay:\n")
    print(f"  postmap -q {address} tcp:{HOST}:{port}")
    print(f"  printf 'get {address}\\n' | nc -N {HOST} {port}")
    print(f'  python3 -c "{one_line}"')
    print("\nCtrl-C ends it.\n", flush=True)


def port_to_use() -> int:
    """Return the usual port, or a free one where it is taken."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            # As the daemon binds: connections of the last run that linger do not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise DaemonError(f"no free port on {HOST}")


def readable(path: Path) -> bool:
    """Whether ``path`` is a log that we may read."""
    try:
        with path.open("rb"):
            return path.is_file()
    except FileNotFoundError:
        return False
    except OSError as error:
        print(f"{path}: {error.strerror}; as root, or in the group adm, it would be followed.")
        return False


@contextlib.contextmanager
def daemon(log: Path, map_: Path, printed: Path, options: Options) -> Iterator[Daemon]:
    """Run the daemon on ``log``; it ends with the block."""
    port = port_to_use()
    command = [sys.executable, "-m", "pbs_watch", "run", "--log", str(log), "--map", str(map_)]
    command += ["--tcp-table", f"{HOST}:{port}", *options.every, *options.run]
    with printed.open("wb") as output:
        # Its own session: Ctrl-C reaches us alone, and we end it in good order.
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        running = Daemon(process, map_, printed, port, options)
        running.wait()
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def follow(running: Daemon, player: Player | None, deadline: float) -> None:
    """Play, and tell what is granted, until ``deadline`` (a monotonic time)."""
    asked = running.ask(EXAMPLE) if player else ""
    if player:
        say(f"asked for {EXAMPLE}: {asked}")
    look = time.monotonic() + LOOK
    while (now := time.monotonic()) < deadline:
        if player and player.play(now):
            say(f"all of it has played; from here on a line every {LATER_PACE:.0f} s")
        if now >= look:
            look = now + LOOK
            fresh = running.new_grants()
            if fresh:
                say_grants(fresh, len(running.seen))
            if EXAMPLE in {grant["address"] for grant in fresh}:
                say(f"asked for {EXAMPLE}: {running.ask(EXAMPLE)}")
        time.sleep(min(0.1, max(deadline - now, 0)))


def show_mail_log(deadline: float) -> None:
    """Follow this machine's mail log."""
    RUN.mkdir(exist_ok=True)
    with daemon(MAIL_LOG, RUN / "map", RUN / "daemon.log", Options()) as running:
        print(f"pbs-watch follows {MAIL_LOG}; messages go to {RUN / 'daemon.log'}.")
        how_to_ask(running.port, "192.0.2.1")
        follow(running, None, deadline)


def show_recorded_log(deadline: float) -> None:
    """Play the recorded log and follow it."""
    RUN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="demo-", dir=RUN) as name:
        folder = Path(name)
        log = folder / "mail.log"
        log.touch()
        config = folder / "empty.toml"  # so that the machine's own does not count
        config.touch()
        options = Options(["--config", str(config)], ["--window", "10m"])
        with daemon(log, folder / "map", folder / "daemon.log", options) as running:
            print(f"A recorded Courier log plays into {log.relative_to(ROOT)}; pbs-watch follows")
            print("it and grants each address that logs in 10 minutes of relaying.")
            how_to_ask(running.port, EXAMPLE)
            lines = RECORDED.read_text(encoding="ascii").splitlines()
            follow(running, Player(log, lines, time.monotonic()), deadline)


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--recorded", action="store_true", help="do not look for a mail log")
    told = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    deadline = time.monotonic() + told.seconds
    try:
        if not told.recorded and readable(MAIL_LOG):
            show_mail_log(deadline)
        else:
            show_recorded_log(deadline)
    except KeyboardInterrupt:
        print()
    except DaemonError as error:
        print(f"The daemon ended:\n{error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(
            f"{error.filename}: cannot be written; run a copy in a folder of your own",
            file=sys.stderr,
        )
        return 2
    print("Ended.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
