"""The metrics of a worker, through OpenTelemetry's real SDK and its Prometheus exporter."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest
from ruamel.yaml import YAML

from stigmer_config.integrations.metrics import observe
from tests.support.live_tools import LOCAL, living, rejected, save, takes, until
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

pytest.importorskip("opentelemetry.exporter.prometheus")
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider

ALERTS = REPOSITORY / "examples" / "kubernetes" / "alerts.yaml"
_LINE = re.compile(r"^(stigmer_config_\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


@pytest.fixture
def provider() -> Iterator[MeterProvider]:
    reader = PrometheusMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    yield provider
    provider.shutdown()


def scraped() -> dict[str, float]:
    """What Prometheus would scrape now: name, with the state where there is one, → value."""
    found: dict[str, float] = {}
    for name, labels, value in _LINE.findall(generate_latest(REGISTRY).decode()):
        state = re.search(r'state="(\w+)"', labels)
        found[f"{name}[{state[1]}]" if state else name] = float(value)
    return found


def test_they_follow_the_worker(sandbox: Sandbox, provider: MeterProvider) -> None:
    """A good change, a rejected one, its end, a restart that is required: as `live.status` has them."""
    with living(sandbox) as live:
        observe(live, provider.get_meter("test"))
        started = live.status.last_success.timestamp()
        first = scraped()
        time = "stigmer_config_last_success_timestamp_seconds"
        assert first[time] >= started
        assert first == {
            "stigmer_config_reloads_total": 0,
            "stigmer_config_rejections_total": 0,
            "stigmer_config_last_reload_successful": 1,
            time: first[time],
            "stigmer_config_generation": 1,
            "stigmer_config_restart_required": 0,
            "stigmer_config_watching[native]": 1,
            "stigmer_config_watching[polling]": 0,
            "stigmer_config_watching[degraded]": 0,
            "stigmer_config_watching[stopped]": 0,
        }
        save(sandbox.user_file, "mode: local\nllm: {timeout: 5}\ntemporal: {namespace: other}\n")
        takes(live, timeout=5.0)
        assert until(lambda: scraped()["stigmer_config_restart_required"] == 1)
        taken = scraped()
        assert (taken["stigmer_config_reloads_total"], taken["stigmer_config_generation"]) == (1, 2)
        assert taken[time] > first[time]
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
        refused = scraped()
        assert (refused["stigmer_config_last_reload_successful"], refused["stigmer_config_rejections_total"]) == (0, 1)
        live.reload()
        assert scraped() == refused  # the same fault, seen again
        save(sandbox.user_file, LOCAL)
        assert until(lambda: live.status.last_error is None)
        assert scraped()["stigmer_config_last_reload_successful"] == 1
    assert scraped()["stigmer_config_watching[stopped]"] == 1


def test_status_counts_what_is_taken_and_rejected(sandbox: Sandbox) -> None:
    """A reload that finds nothing new counts as neither, and was good all the same."""
    with living(sandbox) as live:
        start = live.status
        live.reload()
        assert (live.status.reloads, live.status.rejections) == (0, 0)
        assert live.status.last_success > start.last_success
        for number in range(3):
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number + 1}}}\n")
            takes(live, timeout=float(number + 1))
            save(sandbox.user_file, f"llm: {{timeout: none{number}}}\n")
            assert rejected(live)
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number + 1}}}\n")
            assert until(lambda: live.status.last_error is None)
        assert (live.status.reloads, live.status.rejections, live.status.generation) == (6, 3, 4)


def test_a_worker_that_is_gone_has_none(sandbox: Sandbox, provider: MeterProvider) -> None:
    """The instruments do not keep it alive."""
    with living(sandbox) as live:
        observe(live, provider.get_meter("test"))
    del live
    gc.collect()
    assert scraped() == {}


def test_without_opentelemetry_the_error_says_what_to_install(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra, by name."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with living(sandbox) as live, pytest.raises(ModuleNotFoundError, match=r"'stigmer-config\[metrics\]'"):
        observe(live)


def rules() -> list[dict[str, Any]]:
    document = YAML(typ="safe", pure=True).load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_is_about_metrics_that_exist(sandbox: Sandbox, provider: MeterProvider, rule: dict[str, Any]) -> None:
    """Each rule of the Kubernetes example names metrics and states that are exported, and says what to do."""
    with living(sandbox) as live:
        observe(live, provider.get_meter("test"))
        exported = scraped()
    names = set(re.findall(r"stigmer_config_\w+", rule["expr"]))
    assert names
    assert names <= {name.partition("[")[0] for name in exported}
    states = [state for group in re.findall(r'state=~?"([^"]+)"', rule["expr"]) for state in group.split("|")]
    assert {f"stigmer_config_watching[{state}]" for state in states} <= exported.keys()
    assert rule["annotations"]["description"]
