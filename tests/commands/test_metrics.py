"""Metrics: what Prometheus is told over HTTP and in a file, and what it is never told."""

from __future__ import annotations

import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pbs_watch import exporter, metrics
from pbs_watch.errors import ConfigError
from pbs_watch.snapshots import Snapshots
from tests.daemon import NO, OK, Daemon, Log, command, free_port, line, login, refused, until

Start = Callable[..., Daemon]
Samples = dict[tuple[str, str], float]

COURIER_FAILED = line("LOGIN FAILED, user=bob, ip=[198.18.0.9], port=[4242]")
NEAR = line("LOGIN, user=carol, something=new")


def parsed(text: str) -> Samples:
    """All samples, by name and by the value of the only label, or nothing."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert len(sample.labels) <= 1
            found[sample.name, "".join(sample.labels.values())] = sample.value
    return found


def get(where: str, path: str = "/metrics") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def where() -> str:
    return f"127.0.0.1:{free_port()}"


def test_what_happens_is_counted(start: Start, log: Log, where: str) -> None:
    daemon = start("--metrics", where, "--never", "198.18.0.3")
    log.write(login("198.18.0.1"), login("198.18.0.3"), COURIER_FAILED, NEAR)
    assert daemon.ask("198.18.0.1") == OK
    assert daemon.ask("198.18.0.2") == NO
    until(lambda: daemon.get("198.18.0.1") == 0, "committed")
    until(lambda: get(where)[0] == 200, "metrics")
    seen = parsed(get(where)[1])
    name = str(log.path)
    for key, value in {
        ("pbs_watch_healthy", ""): 1,
        ("pbs_watch_logins_total", ""): 1,
        ("pbs_watch_refused_total", "never"): 1,
        ("pbs_watch_refused_total", "suspect"): 0,
        ("pbs_watch_near_misses_total", ""): 1,
        ("pbs_watch_cuts_total", ""): 0,
        ("pbs_watch_events_total", "courier-pop3"): 2,
        ("pbs_watch_lookups_total", "found"): 1,
        ("pbs_watch_lookups_total", "absent"): 1,
        ("pbs_watch_lookups_total", "cannot_say"): 0,
        ("pbs_watch_lookups_total", "name"): 1,  # the fixture's
        ("pbs_watch_lookup_seconds_count", ""): 3,
        ("pbs_watch_lookup_seconds_bucket", "+Inf"): 3,
        ("pbs_watch_source_lines_total", name): 4,
        ("pbs_watch_source_bytes_total", name): log.path.stat().st_size,
        ("pbs_watch_source_waiting_bytes", name): 0,
        ("pbs_watch_source_lag_seconds", name): 0,
        ("pbs_watch_source_readable", name): 1,
        ("pbs_watch_map_rows", "grants"): 1,
        ("pbs_watch_map_rows", "logins"): 1,
        ("pbs_watch_map_readable", ""): 1,
        ("pbs_watch_commits_failed_total", ""): 0,
    }.items():
        assert seen[key] == value, key
    assert seen["pbs_watch_commits_total", ""] >= 1
    assert 0 < seen["pbs_watch_lookup_seconds_sum", ""] < 10
    assert seen["pbs_watch_map_bytes", ""] > 4096
    latest = seen["pbs_watch_source_last_line_timestamp_seconds", name]
    assert abs(latest - seen["pbs_watch_start_time_seconds", ""]) < 60


def test_no_address_and_no_user_is_told(start: Start, log: Log, where: str) -> None:
    daemon = start("--metrics", where, "--relay-limit", "1/1h")
    log.write(*(login(f"203.0.113.{n}", user=f"user{n}@secret.example") for n in range(20)), NEAR)
    for number in (1, 1, 99):
        daemon.ask(f"203.0.113.{number}")
    until(lambda: get(where)[0] == 200, "metrics")
    text = get(where)[1]
    assert "pbs_watch_logins_total 20.0" in text
    for secret in ("203.0.113", "secret", "user1", "bob", "carol"):
        assert secret not in text


def test_health_over_http(start: Start, tmp_path: Path, where: str) -> None:
    start("--metrics", where)
    until(lambda: get(where, "/healthz") == (200, "well\n"), "well")
    (tmp_path / "mail.log").mkdir()
    until(lambda: get(where, "/healthz")[0] == 503, "ill")
    assert get(where, "/healthz")[1] == f"{tmp_path}/mail.log: cannot be read\n"
    assert ("pbs_watch_healthy 0.0") in get(where)[1]


def test_a_loop_that_stands_still_is_ill(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(exporter, "_PATIENCE", 0.01)
    asked = []
    snapshots = Snapshots(dict, lambda: asked.append(True))
    host, _, port = where.rpartition(":")
    one = exporter.Exporter(snapshots, socket.create_server((host, int(port))), None)
    try:
        assert get(where, "/healthz") == (503, "the daemon's loop does not answer\n")
        assert get(where)[0] == 503
    finally:
        one.close().join()
    assert len(asked) == 2


def test_clients_that_say_nothing_keep_nobody_out(start: Start, log: Log, where: str) -> None:
    daemon = start("--metrics", where)
    until(lambda: get(where)[0] == 200, "metrics")
    host, _, port = where.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(50)]
    log.write(login("198.18.0.1"))
    assert daemon.ask("198.18.0.1") == OK
    for one in silent:
        one.close()
    until(lambda: get_or_nothing(where) == 200, "served again")


def get_or_nothing(where: str) -> int:
    try:
        return get(where)[0]
    except OSError:
        return 0


def test_anything_else_is_not_there(start: Start, where: str) -> None:
    daemon = start("--metrics", where)
    until(lambda: get(where)[0] == 200, "metrics")
    assert get(where, "/../etc/passwd")[0] == 404
    assert get(where, "/metrics?x=1")[0] == 200
    host, _, port = where.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"\0\xff garbage\r\n\r\n")
        assert client.recv(4096) != b"GET"
    assert "garbage" not in daemon.said


def test_the_file_is_whole_readable_and_goes_with_the_daemon(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "pbs-watch.prom"
    daemon = start("--metrics-file", file)
    until(file.exists, "written")
    assert parsed(file.read_text())["pbs_watch_healthy", ""] == 1
    assert file.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    assert daemon.process.signal(signal.SIGTERM) == 0
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_said_once(start: Start, tmp_path: Path) -> None:
    daemon = start("--metrics-file", tmp_path / "nowhere" / "pbs-watch.prom")
    daemon.process.says("metrics cannot be written (No such file or directory)")


def test_a_port_in_use_costs_the_metrics_and_no_lookup(start: Start, log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = start("--metrics", f"127.0.0.1:{port}")
        daemon.process.says("no metrics are told")
        log.write(login("198.18.0.1"))
        assert daemon.ask("198.18.0.1") == OK


def test_without_metrics_nothing_is_timed(start: Start) -> None:
    daemon = start()
    daemon.ask("198.18.0.1")
    state = command("status", "--json", "--config", "/dev/null", "--map", daemon.map)
    assert b'"latency": null' in state.out


def test_settings_are_looked_at(tmp_path: Path) -> None:
    words = ("check", "--config", "/dev/null", "--map", tmp_path)
    assert refused(*words, "--metrics", "9471").startswith("--metrics: 9471: not an address")
    assert refused(*words, "--metrics-file", "x.txt").startswith("--metrics-file: 'x.txt' is no ")
    assert "not a loopback address" in refused(*words, "--metrics", "192.0.2.1:9471")
    assert command(*words, "--metrics", "off", "--metrics-file", "off").status == 0


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=re.escape("python3-prometheus-client")):
        metrics.require()
