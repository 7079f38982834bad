"""The daemon's state (:mod:`pbs_watch.live`) as Prometheus metrics, by prometheus-client.

No address and no user is ever among them: labels are reasons, formats, answers, tables and the
names of logs.  docs/service.rst has the table of metrics; the dashboard and the alerts in
packaging/ use them by their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pbs_watch.answer.latency import BOUNDS
from pbs_watch.errors import ConfigError
from pbs_watch.health import ailments

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ANSWERS = {"found": "found", "absent": "absent", "unknown": "cannot_say", "names": "name"}
"""From the state's names of answers to the label's values."""

_SOURCE_GAUGES = (
    ("waiting", "waiting_bytes", "Bytes of the log that wait to be read."),
    ("lag", "lag_seconds", "How old the latest line read is while any wait; else 0."),
    ("latest", "last_line_timestamp_seconds", "The time of the latest line, by its stamp."),
    ("readable", "readable", "Whether the log can be read: 1 or 0."),
)


def require() -> None:
    """Raise :class:`ConfigError` where the library for metrics is not installed."""
    if find_spec("prometheus_client") is None:
        raise ConfigError(
            "metrics: these take the library prometheus-client; install python3-prometheus-client, "
            "or, from the source's folder: pip install '.[metrics]'"
        )


def exposition(state: Mapping[str, Any]) -> bytes:
    """All metrics in Prometheus' text format, in UTF-8."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - optional, and slow to import

    return bytes(generate_latest(_Once(state)))


class _Once:
    """A registry of what is known now."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        state = self._state
        yield from _daemon(state)
        yield from _judged(state)
        yield from _lookups(state)
        yield from _sources(state)
        yield from _map(state)
        if state["shared"] is not None:
            yield from _shared(state["shared"])


def _gauge(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    return GaugeMetricFamily(f"pbs_watch_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415

    return CounterMetricFamily(f"pbs_watch_{name}", text, value=value)


def _labelled(kind: str, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    from prometheus_client import core  # noqa: PLC0415

    metric: core.CounterMetricFamily | core.GaugeMetricFamily
    if kind == "counter":
        metric = core.CounterMetricFamily(f"pbs_watch_{name}", text, labels=[label])
    else:
        metric = core.GaugeMetricFamily(f"pbs_watch_{name}", text, labels=[label])
    for value, number in values.items():
        metric.add_metric([value], number)
    return metric


def _daemon(state: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import InfoMetricFamily  # noqa: PLC0415

    yield InfoMetricFamily("pbs_watch_build", "The daemon.", value={"version": state["version"]})
    yield _gauge("start_time_seconds", "When the daemon started.", state["started"])
    yield _gauge("healthy", "Whether pbs-watch health is content: 1 or 0.", not ailments(state))
    yield _counter("warnings", "Warnings, said or held back.", state["warnings"])


def _judged(state: Mapping[str, Any]) -> Iterator[Metric]:
    yield _counter("logins", "Logins that granted.", state["logins"])
    yield _counter("ends", "Ends of sessions that counted.", state["ends"])
    text = "Logins and ends that granted nothing, by reason."
    yield _labelled("counter", "refused", text, "reason", state["refused"])
    text = "Accepted though a limit or the witness was against it."
    yield _counter("alarms", text, state["alarms"])
    yield _counter("cuts", "Lines that Courier's logger has cut.", state["cuts"])
    text = "Lines that look like a login and fit no pattern."
    yield _counter("near_misses", text, state["near"])
    text = "Logins and ends by the format that they fit."
    yield _labelled("counter", "events", text, "format", state["formats"])


def _lookups(state: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415

    asked = state["lookups"]
    values = {label: asked[name] for name, label in ANSWERS.items()}
    yield _labelled("counter", "lookups", "Lookups by answer.", "answer", values)
    yield _counter("lookups_limited", "Lookups over the relay limit.", asked["limited"])
    text = "Lookups that were answered no because of shadow."
    yield _counter("lookups_shadowed", text, asked["shadowed"])
    if state["latency"] is not None:
        text = "From a lookup's arrival to its answer."
        sums = list(accumulate(state["latency"]["counts"]))
        names = [*map(str, BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "pbs_watch_lookup_seconds",
            text,
            buckets=list(zip(names, sums, strict=True)),
            sum_value=state["latency"]["seconds"],
        )


def _sources(state: Mapping[str, Any]) -> Iterator[Metric]:
    sources = state["sources"]
    for name, text in (("lines", "Lines read."), ("bytes", "Bytes read.")):
        values = {one["name"]: one[name] for one in sources}
        yield _labelled("counter", f"source_{name}", text, "source", values)
    for key, name, text in _SOURCE_GAUGES:
        values = {one["name"]: float(one[key]) for one in sources if one[key] is not None}
        yield _labelled("gauge", f"source_{name}", text, "source", values)


def _map(state: Mapping[str, Any]) -> Iterator[Metric]:
    known, commits = state["map"], state["commits"]
    readable = "error" not in known
    yield _gauge("map_readable", "Whether the map can be read: 1 or 0.", readable)
    if readable:
        rows = {name: known[name] for name in ("grants", "logins", "sessions", "orders")}
        text = "Rows of the map; those that are over count for some seconds more."
        yield _labelled("gauge", "map_rows", text, "table", rows)
        yield _gauge("map_bytes", "Size of the map on the disk.", known["bytes"])
    yield _counter("commits", "Batches written to the map.", commits["count"])
    yield _counter("commits_failed", "Batches that could not be written.", commits["failed"])
    yield _counter("commit_seconds", "Seconds that writing took.", commits["seconds"])


def _shared(shared: Mapping[str, Any]) -> Iterator[Metric]:
    text = "Whether the engine of the shared grants can be used: 1 or 0."
    yield _gauge("shared_reachable", text, shared["reachable"])
    yield _counter("shared_unreachable", "How often it was found that it cannot.", shared["opened"])
    text = "Logins and orders that the engine is still to be told."
    yield _gauge("shared_outbox_rows", text, shared["waiting"])
    yield _counter("shared_told", "Logins and orders that it was told.", shared["sent"])
    yield _counter("shared_learned", "Orders of other hosts.", shared["learned"])
    text = "How often it was told all anew: it may have lost something."
    yield _counter("shared_offered", text, shared["offered"])
    yield _counter("shared_questions", "Addresses that it was asked for.", shared["asked"])
    yield _counter("shared_found", "Addresses that it knew.", shared["found"])
    text = "Questions without its answer: late, or not asked since it was away."
    values = {"late": shared["late"], "away": shared["refused"]}
    yield _labelled("counter", "shared_unanswered", text, "reason", values)
    yield _gauge("shared_questions_waiting", "Questions that wait for it.", shared["in_flight"])
    text = "Seconds of the last round trip to it."
    yield _gauge("shared_round_trip_seconds", text, shared["round_trip"])
    text = "From reading a login to when the engine had it, the longest of the last half minute."
    yield _gauge("shared_telling_seconds", text, shared["telling"])
