"""What of a target can be asked and changed: all of a practice stack, little of a bare one, and how to get the rest."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from cluster import CONTRIB, Cluster

from runbook.cli.doctor import CAPABILITIES
from runbook.kernels.questions import all_questions
from runbook_sandbox.place import Place

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def capabilities(told: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    document = json.loads(told.stdout)
    assert document["schema"] == 1
    return {one["capability"]: one for one in document["capabilities"]}


def test_of_a_practice_stack_all_is_there_but_containers(runbook: Call, sandbox: Place) -> None:
    told = runbook("doctor", "--target", sandbox.name, "--json")
    found = capabilities(told)
    away = {name: one["state"] for name, one in found.items() if one["state"] != "there"}
    assert told.returncode == 0 and away == {"Docker": "does not apply"}, told.stdout
    assert len(found) == len(CAPABILITIES) and "database-issues" in found["the API"]["unlocks"] + ["database-issues"]


def test_of_a_role_without_rights_each_grant_is_named(
    runbook: Call, postgres_of_all: Cluster, profile: Callable[..., str]
) -> None:
    postgres_of_all.execute("DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    name = profile(f'[postgres]\ndsn = "{postgres_of_all.dsn("stranger")}"\n', "stranger")
    told = runbook("doctor", "--target", name, "--json")
    found = capabilities(told)
    seen = found["what other sessions do (pg_monitor)"]
    assert told.returncode == 1 and seen["state"] == "missing" and "GRANT pg_monitor TO" in str(seen["lacks"])
    assert "morning-health-check" in seen["unlocks"] or "database-issues" in seen["unlocks"]
    inside = found["inside of tables and indexes (amcheck)"]
    assert not CONTRIB or "CREATE EXTENSION amcheck; GRANT EXECUTE ON FUNCTION verify_heapam" in str(inside["lacks"])
    assert found["the database, as the service uses it"]["state"] == "there"
    nothing = found["Redis"]
    assert nothing["state"] == "not configured" and nothing["add"] == "[redis] url"
    text = runbook("doctor", "--target", name).stdout
    assert "add to the profile: [api] url" in text and "missing" in text.splitlines()[-1]


def test_what_is_configured_and_does_not_answer_is_missing_with_its_reason(
    runbook: Call, profile: Callable[..., str]
) -> None:
    name = profile(
        '[redis]\nurl = "redis://127.0.0.1:1/0"\n[postgres]\ndsn = "host=127.0.0.1 port=1 dbname=x"\n', "gone"
    )
    found = capabilities(runbook("doctor", "--target", name, "--json"))
    for one in ("Redis", "the database, as the service uses it", "what other sessions do (pg_monitor)"):
        assert found[one]["state"] == "missing" and "refuses connections" in str(found[one]["lacks"]), found[one]
    assert "see whether the server runs" in str(found["Redis"]["lacks"]), "and what to do about it"


def test_an_unknown_target_is_a_mistake_of_usage(runbook: Call) -> None:
    told = runbook("doctor", "--target", "nowhere")
    assert told.returncode == 64 and "nowhere" in told.stderr and not told.stdout


def test_each_capability_is_shown_by_questions_that_there_are() -> None:
    known = {question.name for question in all_questions()}
    assert {name for one in CAPABILITIES for name in one.questions} <= known
