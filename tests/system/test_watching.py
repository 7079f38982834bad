"""The dashboard and the alerts go by metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import OK, ROOT, Daemon, Log, free_port, line, login, until

RULES = ROOT / "packaging" / "prometheus" / "pbs-watch.rules.yml"
SCRAPE = RULES.with_name("scrape.yml")
DASHBOARD = ROOT / "packaging" / "grafana" / "pbs-watch.json"
DOCUMENT = ROOT / "docs" / "service.rst"

Labels = dict[str, set[str]]


@pytest.fixture
def exposed(start: Callable[..., Daemon], log: Log) -> dict[str, Labels]:
    """All samples of a real daemon at work by name, with the values of their labels."""
    where = f"127.0.0.1:{free_port()}"
    log.write(login("198.18.0.1"), line("LOGIN, user=carol, something=new"))
    # Its engine may be away: all is told in any case.
    daemon = start("--metrics", where, "--shared", f"redis://127.0.0.1:{free_port()}/0")
    assert daemon.ask("198.18.0.1") == OK
    found: dict[str, Labels] = {}
    with urllib.request.urlopen(f"http://{where}/metrics", timeout=10) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
    return found


def expressions() -> Iterator[str]:
    """All that alerts and panels compute."""
    text = RULES.read_text()
    yield from re.findall(r"(?m)^ +expr: (?!>-)(.*)$", text)
    yield from (
        " ".join(found.split()) for found in re.findall(r"(?ms)^ +expr: >-\n(.*?)(?=^ +\w+:)", text)
    )
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_every_metric_that_is_looked_at_exists(exposed: dict[str, Labels]) -> None:
    looked_at = 0
    for expression in expressions():
        for name, selector in re.findall(r"\b(pbs_watch_\w+)(?:\{([^}]*)\})?", expression):
            looked_at += 1
            assert name in exposed, expression
            for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
                assert value in exposed[name][label], expression
        for by in re.findall(r"by \(([^)]*)\)", expression):
            for label in by.replace(" ", "").split(","):
                known = {one for labels in exposed.values() for one in labels} | {"instance"}
                assert label in known, expression
    assert looked_at > 40


def test_every_metric_is_documented_and_every_documented_one_exists(
    exposed: dict[str, Labels],
) -> None:
    documented = set(re.findall(r"``(pbs_watch_\w+?)(?:\{\w+\})?``", DOCUMENT.read_text()))
    histogram = re.compile(r"(?<=pbs_watch_lookup_seconds)_(bucket|count|sum)$")
    assert documented == {histogram.sub("", name) for name in exposed}


def test_every_alert_is_documented() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(alerts) > 8
    documented = re.findall(r"(?m)^``(PbsWatch\w+)``", DOCUMENT.read_text())
    assert documented == alerts


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def test_prometheus_takes_the_rules_and_the_job(tmp_path: Path) -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done
    jobs = "".join(f"  {one}\n" for one in SCRAPE.read_text().splitlines())
    config = tmp_path / "prometheus.yml"
    config.write_text(f"rule_files: [{RULES}]\nscrape_configs:\n{jobs}")
    done = promtool("check", "config", config)
    assert done.returncode == 0, done


def test_prometheus_takes_the_exposition(start: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "pbs-watch.prom"
    start("--metrics-file", file)
    until(file.exists, "written")
    with file.open() as text:
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            stdin=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


STORY = """\
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'up{{job="pbs-watch", instance="a"}}'
        values: '1x60 0x60'
      - series: 'pbs_watch_healthy{{instance="a"}}'
        values: '1x120'
      - series: 'pbs_watch_near_misses_total{{instance="a"}}'
        values: '0x30 1x90'
      - series: 'pbs_watch_refused_total{{instance="a", reason="suspect"}}'
        values: '0x120'
      - series: 'pbs_watch_lookups_total{{instance="a", answer="cannot_say"}}'
        values: '0x20 10+10x10 110x90'
      - series: 'pbs_watch_source_lines_total{{instance="a", source="x"}}'
        values: '5x800'
      - series: 'pbs_watch_source_last_line_timestamp_seconds{{instance="a", source="x"}}'
        values: '0x800'
    alert_rule_test:
      - {{eval_time: 10m, alertname: PbsWatchDown, exp_alerts: []}}
      - {{eval_time: 10m, alertname: PbsWatchNearMisses, exp_alerts: []}}
      - {{eval_time: 10m, alertname: PbsWatchLookupsFail, exp_alerts: []}}
      - {{eval_time: 100m, alertname: PbsWatchSuspects, exp_alerts: []}}
      - {{eval_time: 100m, alertname: PbsWatchIll, exp_alerts: []}}
      - {{eval_time: 5h, alertname: PbsWatchLogSilent, exp_alerts: []}}
      - eval_time: 70m
        alertname: PbsWatchDown
        exp_alerts:
          - exp_labels: {{severity: critical, job: pbs-watch, instance: a}}
            exp_annotations:
              summary: pbs-watch does not answer; relaying is deferred
              description: systemctl status pbs-watch tells why; its ports stay open meanwhile.
      - eval_time: 27m
        alertname: PbsWatchLookupsFail
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a, answer: cannot_say}}
            exp_annotations:
              summary: Lookups are answered with trouble; relaying is deferred
              description: >-
                The log or the map cannot be read, reading is far behind, or an engine is away.
      - eval_time: 40m
        alertname: PbsWatchNearMisses
        exp_alerts:
          - exp_labels: {{severity: warning, instance: a}}
            exp_annotations:
              summary: Lines look like logins and fit no pattern, so that they grant nothing
              description: pbs-watch status shows them.  Was the mail server upgraded?
      - eval_time: 7h
        alertname: PbsWatchLogSilent
        exp_alerts:
          - exp_labels: {{severity: warning, instance: a, source: x}}
            exp_annotations:
              summary: Nothing was written to x for six hours
              description: Is the mail server running, and is this the log that it writes?
"""


def test_alerts_come_when_they_should_and_not_before(tmp_path: Path) -> None:
    story = tmp_path / "story.yml"
    story.write_text(STORY.format(rules=RULES))
    done = promtool("test", "rules", story)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_laid_out_without_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = set()
    for panel in panels:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert x < 24
                assert (x, y) not in cells, panel["title"]
                cells.add((x, y))
    assert len({panel["id"] for panel in panels}) == len(panels)
