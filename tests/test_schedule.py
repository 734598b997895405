"""When notebooks run by themselves: what a profile says, what is written for schedulers, and what `show` finds."""

import fcntl
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from running import OPEN

from runbook.cli.main import Parser
from runbook.cli.schedule import add_commands
from runbook.model import Finding, RunFailed, Status, UsageError
from runbook.model.collection import all_notebooks
from runbook.schedules import kubernetes, systemd
from runbook.schedules.cron import crontab, times
from runbook.schedules.planned import Place, Planned, planned_for, this_place
from runbook.schedules.standing import read_last
from runbook.target import When, load_target, read_when
from runbook_sandbox.archived import leave_runs

Write = Callable[..., str]
Call = Callable[..., subprocess.CompletedProcess[str]]
NOW = datetime.now(UTC).replace(microsecond=0)
CHECK = "morning-health-check"
SCHEDULED = {one.name: one.metadata.schedule for one in all_notebooks() if one.metadata.schedule}
# A path that each scheduler's file would read otherwise than a person, if it were written plainly.
STRANGE = "/srv/run book/100% $HOME"


def a_plan(text: str = "daily 07:30", notebook: str = CHECK, target: str = "production") -> Planned:
    return Planned(notebook, "Is 100% well?", target, read_when(text), False, 10)


def a_place(folder: str = "/srv/python", **environment: str) -> Place:
    return Place(f"{folder}/bin/python", environment, Path(folder, "locks"))


# --- when


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("daily", When("daily", 6, 0)),
        ("daily 07:30", When("daily", 7, 30)),
        ("  Daily   23:59 ", When("daily", 23, 59)),
        ("weekly", When("weekly", 6, 0, weekday=0)),
        ("weekly sun", When("weekly", 6, 0, weekday=6)),
        ("weekly Wed 00:05", When("weekly", 0, 5, weekday=2)),
        ("monthly", When("monthly", 6, 0, day=1)),
        ("monthly 28 05:00", When("monthly", 5, 0, day=28)),
        ("off", None),
    ],
)
def test_a_schedule_is_read_as_people_write_it(text: str, when: When | None) -> None:
    assert read_when(text) == when
    assert when is None or read_when(str(when)) == when


@pytest.mark.parametrize(
    "text",
    [
        "", "hourly", "daily 7:30", "daily 24:00", "daily 07:60", "daily mon", "daily 07:30 08:30", "weekly monday",
        "weekly 1", "weekly 07:30 mon", "monthly 0", "monthly 29", "monthly mon", "monthly 1 2", "off 07:30",
        "0 7 * * *", "daily 07:30\n* * * * * root", "daily ٠٧:٣٠",
    ],
)  # fmt: skip
def test_a_schedule_that_does_not_parse_is_a_mistake_of_the_profile_told_in_one_sentence(
    text: str, profile: Write
) -> None:
    name = profile(f"[schedule]\n{CHECK} = {json.dumps(text)}\n")
    with pytest.raises(UsageError) as refused:
        load_target(name)
    said = str(refused.value)
    assert f"line 2: schedule.{CHECK}: this is no schedule; write " in said and "\n" not in said
    assert said.count(";") == 1 and "monthly 1 07:30" in said


def test_what_is_no_text_is_refused_as_well(profile: Write) -> None:
    with pytest.raises(UsageError, match=f"line 2: schedule.{CHECK}: "):
        load_target(profile(f"[schedule]\n{CHECK} = 7\n"))


def test_without_a_word_in_the_profile_each_notebook_runs_as_its_metadata_say(profile: Write) -> None:
    planned = planned_for(load_target(profile("")), all_notebooks())
    assert {one.notebook: one.when.period for one in planned if one.when} == SCHEDULED
    assert not any(one.by_profile for one in planned)


def test_the_profile_moves_adds_and_switches_off(profile: Write) -> None:
    text = f'[schedule]\n{CHECK} = "daily 07:30"\nalert-rules = "off"\nlog-analysis = "weekly fri"\n'
    planned = {one.notebook: one for one in planned_for(load_target(profile(text)), all_notebooks())}
    assert planned[CHECK].told == "daily 07:30" and planned[CHECK].by_profile
    assert planned["alert-rules"].told == "off" and planned["log-analysis"].told == "weekly fri 06:00"
    assert set(planned) == {*SCHEDULED, "log-analysis"}


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("mourning-health-check", "profile other: schedule: unknown notebook .* did you mean morning-health-check"),
        ('"1-daily-operations/morning-health-check"', "write morning-health-check instead of"),
        ("post-mortem", "post-mortem tells of an incident"),
    ],
)
def test_a_schedule_of_what_cannot_have_one_is_refused(named: str, says: str, profile: Write) -> None:
    with pytest.raises(UsageError, match=says):
        planned_for(load_target(profile(f'[schedule]\n{named} = "daily"\n')), all_notebooks())


def test_runs_begin_apart_always_at_the_same_minute_and_never_on_another_day() -> None:
    begun = {name: a_plan("daily 06:00", name).minutes(15) for name in SCHEDULED}
    assert begun == {name: a_plan("daily 06:00", name).minutes(15) for name in SCHEDULED}
    assert len(set(begun.values())) > 5 and all((6, 0) <= at <= (6, 15) for at in begun.values())
    assert {a_plan("daily 23:55", name).minutes(120)[0] for name in SCHEDULED} == {23}
    assert a_plan("daily 23:59").minutes(15) == (23, 59) and a_plan("daily 07:30").minutes(0) == (7, 30)
    assert len({a_plan("daily", target=target).minutes(120) for target in ("one", "two", "three")}) > 1


# --- cron


@pytest.mark.parametrize(
    ("text", "fields"),
    [("daily 07:30", "30 7 * * *"), ("weekly mon", "0 6 * * 1"), ("weekly sun 23:05", "5 23 * * 0"),
     ("monthly 28 05:00", "0 5 28 * *")],
)  # fmt: skip
def test_cron_and_systemd_are_told_the_same_moment(text: str, fields: str) -> None:
    assert times(a_plan(text), 0) == fields
    when = read_when(text)
    assert when is not None
    if shutil.which("systemd-analyze"):
        argv = ["systemd-analyze", "calendar", systemd.calendar(when)]
        told = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "TZ": "UTC"})
        following = re.search(r"Next elapse: (\w{3}) \d{4}-\d\d-(\d\d) (\d\d):(\d\d)", told.stdout)
        assert told.returncode == 0 and following is not None, told.stdout + told.stderr
        assert (int(following[3]), int(following[4])) == (when.hour, when.minute)
        assert when.period != "weekly" or following[1].lower() == text.split()[1]
        assert when.period != "monthly" or int(following[2]) == when.day


def test_a_crontab_keeps_what_cron_and_the_shell_would_take_apart() -> None:
    text = crontab([a_plan()], {"production": a_place(STRANGE, RUNBOOK_TARGETS=STRANGE)}, 0, "/usr/bin/flock")
    assert f'\nRUNBOOK_TARGETS="{STRANGE}"\n' in text
    (line,) = (line for line in text.splitlines() if line.startswith("30 7"))
    assert not re.search(r"(?<!\\)%", line)  # cron would make a new line of it
    command = line.split(maxsplit=5)[5].replace(r"\%", "%")
    assert shlex.split(command) == [
        *["mkdir", "-p", "-m", "700", f"{STRANGE}/locks", "&&", "/usr/bin/flock", "-n", "-E", "75"],
        *[f"{STRANGE}/locks/production.{CHECK}.lock", f"{STRANGE}/bin/python", "-P", "-m", "runbook"],
        *["run", CHECK, "--target", "production"],
    ]


def test_a_value_that_no_crontab_can_hold_is_refused(profile: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="both kinds of quotes"):
        crontab([], {"production": a_place(RUNBOOK_TARGETS="/a\"b'c")}, 0, "/usr/bin/flock")
    monkeypatch.setenv("RUNBOOK_EVIDENCE", "/a\n* * * * * root")
    with pytest.raises(UsageError, match="RUNBOOK_EVIDENCE holds signs"):
        this_place(load_target(profile("")))


def test_secrets_are_named_and_never_written(profile: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "hunter2-S3cret")
    monkeypatch.setenv("RUNBOOK_SIGNING_KEY", "hunter2-literal-key")
    target = load_target(profile('[api]\nurl = "http://h"\ntoken = "env:THE_TOKEN"\n'))
    place = this_place(target)
    assert "RUNBOOK_SIGNING_KEY" not in place.environment and place.secrets == ("THE_TOKEN",)
    text = crontab([], {"other": place}, 0, "/usr/bin/flock")
    assert "THE_TOKEN" in text and "hunter2" not in text
    monkeypatch.setenv("RUNBOOK_SIGNING_KEY", "env:THE_KEY")
    assert this_place(target).environment["RUNBOOK_SIGNING_KEY"] == "env:THE_KEY"
    assert this_place(target).secrets == ("THE_KEY", "THE_TOKEN")


def test_a_line_of_the_crontab_runs_as_cron_runs_it_once_at_a_time_and_show_finds_it(
    runbook: Call, profile: Write, collection: Write, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("flock"):
        pytest.skip("flock is not installed")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    name = collection(OPEN, "run.ask(host.memory)", "run.summary()")
    target = profile(f'host.where = "here"\n[schedule]\n{name} = "daily 07:30"\n')
    assert "overdue" in runbook("schedule", "show", "--target", target).stdout
    text = runbook("schedule", "cron", "--target", target, "--jitter", "0").stdout
    line = next(line for line in text.splitlines() if line.startswith("30 7 * * *"))
    # As cron does: nothing of this environment but what the crontab sets, a home, and no folder of ours.
    settings = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.MULTILINE))
    bare = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent / "lib"), **settings}
    argv = ["/bin/sh", "-c", line.split(maxsplit=5)[5].replace(r"\%", "%")]

    def as_cron() -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=bare, cwd="/", capture_output=True, text=True, timeout=60)

    ended = as_cron()
    assert ended.returncode in (0, 1, 2), ended.stdout + ended.stderr  # a verdict on this machine's memory
    shown = json.loads(runbook("schedule", "show", "--target", target, "--json").stdout)
    (one,) = shown["schedule"]
    assert (one["notebook"], one["schedule"], one["by"], one["overdue"]) == (name, "daily 07:30", "profile", False)
    (lock,) = (tmp_path / "state" / "runbook" / "schedules").iterdir()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert as_cron().returncode == 75
    assert len(list((archive / "runs").glob("*/*"))) == 1


# --- systemd


def verified(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (folder / name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in files)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30)


def test_all_units_pass_systemds_own_tool_also_with_a_strange_folder(tmp_path: Path, profile: Write) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    strange = tmp_path / "run book 100% $HOME"
    (strange / "bin").mkdir(parents=True)
    (strange / "bin" / "python").symlink_to(sys.executable)
    place = a_place(str(strange), RUNBOOK_TARGETS=STRANGE, RUNBOOK_EVIDENCE='/a "b" \\ c')
    units: dict[str, str] = {}
    for one in planned_for(load_target(profile("")), all_notebooks()):
        units |= systemd.units(one, place, jitter=15, seconds=420)
    units |= systemd.units(a_plan(), place, jitter=15, seconds=420, user=pwd.getpwuid(os.getuid()).pw_name)
    assert len(units) == 2 * len(SCHEDULED) + 2
    ended = verified(tmp_path, units)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
    timer = units[f"runbook-production-{CHECK}.timer"]
    assert {"Persistent=true", "RandomizedDelaySec=15min", "WantedBy=timers.target"} <= set(timer.splitlines())
    assert "\nUser=" in units[f"runbook-production-{CHECK}.service"]


def test_systemds_own_tool_would_have_told(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    units = systemd.units(a_plan(), a_place(str(tmp_path / "nowhere")), jitter=15, seconds=420)
    ended = verified(tmp_path, {name: text.replace("*-*-*", "*-*-42") for name, text in units.items()})
    assert "is not executable" in ended.stderr and "Failed to parse calendar" in ended.stderr


# --- Kubernetes


def jobs_of(folder: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all((folder / "cronjobs.yaml").read_text()))


def test_cron_jobs_are_whole_and_confined_and_come_with_the_file_of_their_image(
    runbook: Call, profile: Write, tmp_path: Path
) -> None:
    target = profile('[schedule]\nalert-rules = "off"\n', "EU_production")
    how = ["--image", "registry.example/runbook:1", "--timezone", "Europe/Vienna", "--output", str(tmp_path / "made")]
    ended = runbook("schedule", "kubernetes", "--target", target, *how)
    assert ended.returncode == 0, ended.stderr
    jobs = jobs_of(tmp_path / "made")
    names = {job["metadata"]["name"] for job in jobs}
    assert len(names) == len(jobs) == len(SCHEDULED) - 1
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", name) for name in names)
    dockerfile = (tmp_path / "made" / "Dockerfile").read_text()
    assert "NEVER BUILT" in dockerfile
    for job in jobs:
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
        spec = job["spec"]
        assert re.fullmatch(r"\d+ \d+ (\*|\d+) \* (\*|[0-6])", spec["schedule"])
        assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Europe/Vienna", "Forbid")
        each = spec["jobTemplate"]["spec"]
        assert (each["backoffLimit"], each["activeDeadlineSeconds"]) == (0, 420)
        pod = each["template"]["spec"]
        assert pod["restartPolicy"] == "Never" and pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["image"] == "registry.example/runbook:1"
        assert container["args"][2:] == ["--target", target] and container["args"][1] in SCHEDULED
        assert json.dumps(container["command"]) in dockerfile
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_cron_jobs_pass_the_schemas_of_kubernetes(runbook: Call, profile: Write, tmp_path: Path, tools: str) -> None:
    made = tmp_path / "made"
    runbook("schedule", "kubernetes", "--target", profile(""), "--output", str(made))
    argv = [tools, "-m", "kubernetes_validate", "--strict", "-k", "1.28", "-k", "1.33", made / "cronjobs.yaml"]
    ended = subprocess.run(argv, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("passed for resource cronjob/") == 2 * len(SCHEDULED)


def test_two_targets_never_share_the_name_of_a_job() -> None:
    names = ["runbook-eu-x", "runbook-EU-x", "runbook-eu_x", f"runbook-{'a' * 60}", f"runbook-{'a' * 61}"]
    made = [kubernetes.dns_name(name) for name in names]
    assert len(set(made)) == len(names) and max(map(len, made)) <= 52 and made[0] == "runbook-eu-x"


# --- show


@pytest.fixture
def kept(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of a test's own, with a state of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)
    return archive


def leave(archive: Path, notebook: str, *ended: tuple[float, Status]) -> list[Path]:
    """Leave runs of a notebook that ended so many days ago with this verdict."""
    runs = [
        (NOW - timedelta(days=days), [Finding(check="host.disk", object="/", status=status, message="it is so")], {})
        for days, status in ended
    ]
    return leave_runs(archive, runs, notebook=notebook, target="other")


def test_show_tells_on_time_overdue_drifted_and_off(runbook: Call, profile: Write, kept: Path) -> None:
    ok, warning, unknown = Status.OK, Status.WARNING, Status.UNKNOWN
    leave(kept, CHECK, (3.0, ok), (2.0, warning), (0.5, warning))
    leave(kept, "log-review", (20.0, ok), (0.5, unknown))
    leave(kept, "key-metrics", (2.0, ok))
    leave(kept, "security-audit", (20.0, ok))
    leave(kept, "database-maintenance", (8.0, ok))
    target = profile('[schedule]\nalert-rules = "off"\n')
    ended = runbook("schedule", "show", "--target", target, "--json")
    told = {one["notebook"]: one for one in json.loads(ended.stdout)["schedule"]}
    wanted = {
        CHECK: "on time", "log-review": "drifted", "key-metrics": "overdue", "security-audit": "on time",
        "database-maintenance": "overdue", "alert-rules": "off", "file-integrity": "overdue",
    }  # fmt: skip
    assert {name: told[name]["state"] for name in wanted} == wanted and set(told) == set(SCHEDULED)
    assert ended.returncode == 1
    assert told[CHECK]["last_success"] == (NOW - timedelta(days=0.5)).isoformat()
    assert told[CHECK]["last_clean"] == (NOW - timedelta(days=3)).isoformat()
    assert told["file-integrity"]["last_success"] is None and "no run" in told["file-integrity"]["message"]
    drifted = json.loads(runbook("schedule", "show", "--target", target, "--json", "--days", "2").stdout)["schedule"]
    assert {one["notebook"]: one["state"] for one in drifted}[CHECK] == "drifted"
    # Without a run of its own on this target, another target's say nothing.
    assert {last for _, last in read_last(kept, ["sandbox"], NOW, 100)[0]} == set()


def test_show_is_content_where_all_is_on_time(runbook: Call, profile: Write, kept: Path) -> None:
    leave(kept, CHECK, (0.5, Status.OK))
    off = "".join(f'{name} = "off"\n' for name in SCHEDULED if name != CHECK)
    ended = runbook("schedule", "show", "--target", profile(f"[schedule]\n{off}"))
    assert ended.returncode == 0
    told = rf"^on time +{CHECK} on other +daily 06:00 +last success 12 h( \d+ min)? ago"
    assert re.search(told, ended.stdout, re.MULTILINE)


def test_a_run_that_is_not_what_was_sealed_does_not_count_and_is_told(
    runbook: Call, profile: Write, kept: Path
) -> None:
    _, forged = leave(kept, CHECK, (2.0, Status.OK), (0.5, Status.OK))
    record = forged / "run.json"
    record.write_text(record.read_text().replace("it is so", "it is fine"))
    ended = runbook("schedule", "show", "--target", profile(""))
    assert re.search(rf"^overdue +{CHECK} .* last success 2 d ago", ended.stdout, re.MULTILINE), ended.stdout
    assert "not counted: 1 runs (broken)" in ended.stdout


def test_an_archive_in_which_something_else_lies_is_told(kept: Path) -> None:
    (kept / "runs" / "what-is-this").mkdir(parents=True)
    with pytest.raises(RunFailed, match=r"cannot be read: .*what-is-this"):
        read_last(kept, ["other"], NOW, 100)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "--days", "soon"], "'soon' is to be a number of days"),
        (["show", "--days", "0"], "'0' is to be a number of days"),
        (["show", "--days", "nan"], "'nan' is to be a number of days"),
        (["cron", "--jitter", "-1"], "from 0 to 120"),
        (["cron", "--jitter", "121"], "from 0 to 120"),
        (["systemd", "--user", "root\nExecStart=x"], "is no name of a user"),
        (["kubernetes", "--image", "a b"], "is no name of an image"),
        (["kubernetes", "--timezone", "Vienna"], "'Vienna' is no time zone"),
        (["airflow"], "invalid choice"),
    ],
)
def test_a_call_that_is_wrong_is_told_in_one_sentence(arguments: list[str], says: str, capsys: Any) -> None:
    parser = Parser(prog="runbook schedule")
    add_commands(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (64, "") and says in told.err


def test_an_unknown_target_is_told_by_the_command(runbook: Call) -> None:
    ended = runbook("schedule", "cron", "--target", "nowhere")
    assert (ended.returncode, ended.stdout) == (64, "") and "unknown target 'nowhere'" in ended.stderr


def test_a_folder_that_cannot_be_written_is_told(runbook: Call, profile: Write, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = runbook("schedule", "systemd", "--target", profile(""), "--output", str(tmp_path / "file"))
    assert ended.returncode == 70 and "cannot be written" in ended.stderr
