"""The alert rules: that the shipped file is what is made, and what each does, as promtool sees it."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from monitoring import require
from ruamel.yaml import YAML

from runbook.kernels.questions import all_questions
from runbook.model.collection import all_notebooks
from runbook.prometheus.rules import AS_WRITTEN, LIMITS, SHIPPED, Terms, all_rules, rule_file
from runbook.target.profile import Jobs

RULES = {rule.name: rule for rule in all_rules()}
FOLDER = Path(__file__).parent / "rules"
yaml = YAML(typ="safe")
CASES: dict[str, dict[str, list[dict[str, Any]]]] = {
    path.stem: yaml.load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))
}
WRITTEN = CASES.pop("runbook-as-written")


def each(cases: dict[str, list[dict[str, Any]]]) -> Iterator[Any]:
    for alert, told in cases.items():
        for case in told:
            yield pytest.param(alert, case, id=f"{alert} {case['case']}")


def the_cases() -> dict[str, list[dict[str, Any]]]:
    return {alert: told for cases in CASES.values() for alert, told in cases.items()}


def shipped_rules(path: Path = SHIPPED) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in yaml.load(path.read_text())["groups"] for rule in group["rules"]}


def judged_by_promtool(folder: Path, rule: dict[str, Any], cases: list[dict[str, Any]]) -> str:
    """Return what promtool has to say against these cases of one rule; "" where each was looked at and is as it tells.

    The rule's texts are left out: they would have to be repeated in every case, and have a test of their own.
    """
    bare = {key: value for key, value in rule.items() if key != "annotations"}
    (folder / "rule.yml").write_text(json.dumps({"groups": [{"name": "test", "rules": [bare]}]}))
    told, ran = "", list[str]()
    for every in sorted({case.get("every", "15s") for case in cases}):
        tests = [_test(rule, case, every) for case in cases if case.get("every", "15s") == every]
        document = {"rule_files": ["rule.yml"], "evaluation_interval": every, "tests": tests}
        (folder / "tests.yml").write_text(json.dumps(document))
        ended = subprocess.run(
            ["promtool", "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True, timeout=60
        )
        well = ended.returncode == 0 and ended.stdout.count("SUCCESS") == 1
        told += "" if well else f"promtool ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
        ran += [test["name"] for test in tests if test["alert_rule_test"]]
    wanted = [case["case"] for case in cases]
    return told if sorted(ran) == sorted(wanted) else f"{told}not each case was looked at: {ran} of {wanted}"


def _test(rule: dict[str, Any], case: dict[str, Any], every: str) -> dict[str, Any]:
    fires = [{"exp_labels": {**rule["labels"], **case.get("labels", {})}}]
    expected = {**{moment: [] for moment in case.get("silent", [])}, **dict.fromkeys(case.get("fires", []), fires)}
    return {
        "name": case["case"],
        "interval": every,
        "input_series": [{"series": series, "values": str(values)} for series, values in case["series"].items()],
        "alert_rule_test": [
            {"eval_time": moment, "alertname": rule["alert"], "exp_alerts": alerts}
            for moment, alerts in expected.items()
        ],
    }


@cache
def said_of_all(alert: str, path: Path) -> str:
    """Return what promtool says against all cases of a rule: asked once, since each call takes its time."""
    cases = (WRITTEN if path == AS_WRITTEN else the_cases())[alert]
    with tempfile.TemporaryDirectory() as folder:
        return judged_by_promtool(Path(folder), shipped_rules(path)[alert], cases)


@pytest.mark.parametrize(("alert", "case"), list(each(the_cases())))
def test_a_rule(alert: str, case: dict[str, Any], tmp_path: Path) -> None:
    require("promtool")
    assert case.get("fires") or case.get("silent")
    if said := said_of_all(alert, SHIPPED):
        assert judged_by_promtool(tmp_path, shipped_rules()[alert], [case]) == ""
        assert case is not the_cases()[alert][0], said  # each is well alone, and not all of them together


@pytest.mark.parametrize(("alert", "case"), list(each(WRITTEN)))
def test_the_runbooks_own_rule(alert: str, case: dict[str, Any], tmp_path: Path) -> None:
    require("promtool")
    if said := said_of_all(alert, AS_WRITTEN):
        assert judged_by_promtool(tmp_path, shipped_rules(AS_WRITTEN)[alert], [case]) == ""
        assert case is not WRITTEN[alert][0], said


def test_a_promtool_that_fails_without_a_word_or_runs_nothing_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, cases = shipped_rules()["ApiDown"], the_cases()["ApiDown"][:1]
    for number, script in enumerate(("exit 1", "exit 0")):
        program = tmp_path / str(number) / "promtool"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        assert "promtool ended with" in judged_by_promtool(tmp_path, rule, cases)


def test_every_rule_has_cases_in_which_it_fires_stays_silent_has_no_data_and_resolves() -> None:
    cases = the_cases()
    assert list(RULES) == [name for name in RULES if name in cases] and set(cases) == set(RULES)
    for name, told in cases.items():
        if name == "DeadMansSwitch":  # it has one state only
            continue
        assert [case for case in told if not case["series"]], f"{name}: no data"
        assert [case for case in told if case.get("fires") and case["series"]], f"{name}: fires"
        silent_only = [case for case in told if case["series"] and not case.get("fires")]
        assert silent_only or name == "BackupTooOld", f"{name}: its look-alike"
        assert [case for case in told if "resolves" in case["case"] or "ended" in case["case"]], f"{name}: resolves"


COMPARED = re.compile(r"(==|>=|<=|>|<) (bool )?(\d+(?:\.\d+)?)")


def mutants(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rule with one of its numbers three times as large or as small, a comparison with 0 turned round, or a
    wait that is much longer or left out.
    """
    turned = {"==": "!=", ">=": "<", "<=": ">", ">": "<=", "<": ">="}
    for match in COMPARED.finditer(rule["expr"]):
        sign, _, figure = match.groups()
        if rule["alert"].startswith("ErrorBudget") and match[0] == "== 1":
            continue  # how a series that is born is counted: all of that is held by the cases of HighErrorRate
        value = float(figure)
        others = [f"{sign} {value * 3:.10g}", f"{sign} {value / 3:.10g}"] if value > 1e-9 and sign != "==" else []
        for other in others or [f"{turned[sign]} {figure}"]:
            expr = rule["expr"][: match.start()] + other + rule["expr"][match.end() :]
            yield f"{match[0]} → {other}", {**rule, "expr": expr}
    if "for" in rule:
        yield "for: a day", {**rule, "for": "5d"}
        yield "for: nothing", {key: value for key, value in rule.items() if key != "for"}


def _samples(case: dict[str, Any]) -> int:
    """Return roughly how much of a case promtool has to go through."""
    counts = re.findall(r"x(\d+)", " ".join(str(values) for values in case["series"].values()))
    return sum(map(int, counts)) + 1000 * len(counts)


@pytest.mark.slow
@pytest.mark.parametrize("alert", RULES)
def test_a_rule_with_another_number_in_it_fails_its_cases(alert: str, tmp_path: Path) -> None:
    require("promtool")
    cases = sorted(the_cases()[alert], key=_samples)  # the cheap ones first: one that fails is enough
    survived = [
        told
        for told, mutant in mutants(shipped_rules()[alert])
        if all(judged_by_promtool(tmp_path, mutant, [case]) == "" for case in cases)
    ]
    assert survived == []


def test_the_shipped_file_is_what_is_made_of_the_rules() -> None:
    assert SHIPPED.read_text() == rule_file()


def test_nothing_loads_the_runbooks_own_rules_by_mistake() -> None:
    assert not AS_WRITTEN.name.endswith(".rules.yml") and SHIPPED.name.endswith(".rules.yml")


def test_the_runbooks_own_four_keep_their_names_their_severity_and_their_wait() -> None:
    written, shipped = shipped_rules(AS_WRITTEN), shipped_rules()
    for name, rule in written.items():
        assert (shipped[name]["for"], shipped[name]["labels"]) == (rule["for"], rule["labels"])


def test_the_numbers_in_the_rules_are_the_defaults_of_the_checks() -> None:
    questions = {question.name: question.thresholds for question in all_questions()}
    for name, limit in LIMITS.items():
        assert bool(limit.check) != bool(limit.source), name
        assert not limit.check or questions[limit.check][limit.threshold] == limit.default, name
    # What others judge by the same number, by other means.
    assert questions["api.error_rate"]["critical"] == LIMITS["error_percent"].default
    assert questions["logs.durations"]["warning_ms"] == LIMITS["p95_ms"].default
    assert questions["prometheus.memory"]["warning"] == LIMITS["memory_percent"].default


def test_a_threshold_of_the_profile_and_the_names_of_its_jobs_stand_in_its_rules() -> None:
    thresholds = {"prometheus.error_share": {"critical": 2.0}, "queue.oldest_item": {"warning_hours": float("inf")}}
    made = {rule.name: rule for rule in all_rules(Terms(jobs=Jobs(api="shrimp"), thresholds=thresholds))}
    assert made["HighErrorRate"].expr.endswith("> 0.02") and 'job="shrimp"' in made["HighErrorRate"].expr
    assert "> +Inf" in made["QueueNotDraining"].expr
    assert not [rule.name for rule in made.values() if "shrimp-api" in rule.expr + rule.description]


def test_a_small_scale_shortens_every_window_and_wait_and_leaves_ages_as_they_are(tmp_path: Path) -> None:
    require("promtool")
    short = {rule.name: rule for rule in all_rules(Terms(scale=1 / 60))}
    assert "[5s]" in short["HighErrorRate"].expr and short["HighErrorRate"].wait == 2
    assert short["BackupTooOld"].expr == RULES["BackupTooOld"].expr
    (tmp_path / "short.yml").write_text(rule_file(Terms(scale=1 / 600)))
    ended = subprocess.run(["promtool", "check", "rules", tmp_path / "short.yml"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_every_rule_leads_to_a_notebook_that_is_there_and_says_that_it_is_led_to() -> None:
    notebooks = {f"{notebook.section}/{notebook.name}": notebook for notebook in all_notebooks()}
    for rule in RULES.values():
        assert rule.name in notebooks[rule.notebook].metadata.alerts, (rule.name, rule.notebook)
    for notebook in notebooks.values():
        told = "".join(notebook.document["cells"][0]["source"]).partition("**Alerts that lead here**")[2]
        assert not set(notebook.metadata.alerts) - set(RULES), notebook.name
        assert [name for name in RULES if f"`{name}`" in told] == [
            name for name in RULES if name in notebook.metadata.alerts
        ], notebook.name


def test_every_alert_says_what_is_wrong_how_bad_and_where_to_go() -> None:
    for name, rule in shipped_rules().items():
        told = rule["annotations"]
        assert told["runbook_url"] == f"notebooks/{RULES[name].notebook}.ipynb"
        assert len(re.sub(r"{{.*?}}", "", told["summary"])) < 90
        assert told["description"].removesuffix("{{ end }}").endswith(".")
        assert rule["labels"]["severity"] in ("critical", "warning", "none")
    based = yaml.load(rule_file(base="https://code.example/shrimp/"))["groups"][0]["rules"][0]
    assert based["annotations"]["runbook_url"].startswith("https://code.example/shrimp/notebooks/")


def test_the_texts_of_an_alert_tell_the_value_with_its_unit(tmp_path: Path) -> None:
    require("promtool")
    series = {
        'http_requests_total{job="shrimp-api",status="200"}': "0+70x80",
        'http_requests_total{job="shrimp-api",status="500"}': "0+30x80",
        'pg_up{job="postgres",instance="db"}': "0+0x80",
        'up{job="postgres",instance="db"}': "1x80",
    }
    told = {
        "HighErrorRate": (
            {"severity": "critical"},
            "30% of the requests fail with 5xx",
            "30% of all requests of the last 5m were answered 5xx (limit 10%, and more than 5 of them).",
        ),
        "ApiDown": (
            {"severity": "critical", "job": "shrimp-api"},
            "The service does not answer Prometheus",
            "Prometheus has no target of the job shrimp-api.",
        ),
        "DatabaseConnectionFailure": (
            {"severity": "critical", "job": "postgres", "instance": "db"},
            "PostgreSQL, or its exporter, cannot be reached: db",
            "The exporter db does not answer, or cannot connect to PostgreSQL.",
        ),
        "BackupTooOld": (
            {"severity": "warning"},
            "Nothing reports a backup",
            "A backup is to be no older than 26 h. No host tells shrimp_backup_last_success_timestamp_seconds: a "
            "backup of which nothing is known is none.",
        ),
    }
    tests = [
        {
            "eval_time": "15m",
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": labels,
                    "exp_annotations": {
                        "summary": summary,
                        "description": description,
                        "runbook_url": f"notebooks/{RULES[name].notebook}.ipynb",
                    },
                }
            ],
        }
        for name, (labels, summary, description) in told.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    document = {
        "rule_files": [str(SHIPPED)],
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": inputs, "alert_rule_test": tests}],
    }
    (tmp_path / "tests.yml").write_text(json.dumps(document))
    ended = subprocess.run(["promtool", "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
