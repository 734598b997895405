"""An alert's whole way in the sandbox: requests fail, Prometheus and Alertmanager tell it, it resolves."""

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from running import by_check, only, wait_for

from runbook import open_run
from runbook import prometheus as questions
from runbook.model import Status
from runbook.model.protocol import RunsDocument
from runbook.prometheus.rules import SHIPPED, Terms, rule_file
from runbook_sandbox import monitoring
from runbook_sandbox.load import load
from runbook_sandbox.place import Place


@pytest.mark.skipif(not monitoring.installed(), reason="Prometheus and Alertmanager are not installed")
def test_thirty_percent_errors_are_pending_fire_arrive_and_resolve(
    watched: Place, run_json: Callable[..., tuple[int, RunsDocument]], runbook: Callable[..., Any]
) -> None:
    """The shipped rules, forty times as quick, since their wait is two minutes and their window five."""
    folder = watched.folder / "prometheus"
    (folder / "rules" / SHIPPED.name).write_text(rule_file(Terms(scale=1 / 40)))
    config = json.loads((folder / "prometheus.yml").read_text())
    config["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
    (folder / "prometheus.yml").write_text(json.dumps(config))
    url = f"http://127.0.0.1:{watched.read('state.json')['ports']['prometheus']}"
    httpx.post(f"{url}/-/reload", trust_env=False).raise_for_status()
    assert runbook("sandbox", "break", "errors-30", "--name", "watched").returncode == 0
    traffic = threading.Thread(target=load, args=(watched, 120.0, 12.0), daemon=True)
    traffic.start()
    run = open_run("test", needs=["prometheus", "alertmanager"], target="watched")

    def state() -> str:
        told = {finding.object: finding for finding in run.ask(questions.alert_states).findings}
        return str(told["HighErrorRate"].value) if "HighErrorRate" in told else ""

    seen: list[str] = []

    def reached(wanted: str) -> bool:
        now = state()
        if now not in seen[-1:]:
            seen.append(now)
        return now == wanted

    wait_for(lambda: reached("firing"), 60)
    assert seen[-2:] == ["pending", "firing"]
    status, document = run_json("alert-rules", "--target", "watched", "-p", "days=0.02")
    told = [finding for finding in only(document).findings if finding.object == "HighErrorRate"]
    fires = next(finding for finding in told if finding.check == "prometheus.alert_states")
    arrived = by_check(only(document))["prometheus.alerts_arrive"]
    assert status == 2 and fires.status is Status.CRITICAL
    assert "of the requests fail with 5xx" in fires.message and "runbook run" in fires.next
    assert "HighErrorRate" in arrived.message and arrived.status is Status.OK
    assert runbook("sandbox", "heal", "--name", "watched").returncode == 0
    wait_for(lambda: reached(""), 60)
    manager = f"http://127.0.0.1:{watched.read('state.json')['ports']['alertmanager']}"

    def resolved() -> bool:
        alerts = httpx.get(f"{manager}/api/v2/alerts", trust_env=False).json()
        return not [alert for alert in alerts if alert["labels"]["alertname"] == "HighErrorRate"]

    wait_for(resolved, 60)
