"""When notebooks run by themselves: what a profile says, what is written for schedulers, and what `show` finds."""

import ast
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
from runbook.schedules.airflow import dags
from runbook.schedules.cron import crontab, times
from runbook.schedules.planned import Place, Planned, planned_for, this_place
from runbook.schedules.standing import read_past
from runbook.target import When, load_target, read_when
from runbook_sandbox.archived import leave_runs

Write = Callable[..., str]
Call = Callable[..., subprocess.CompletedProcess[str]]
NOW = datetime.now(UTC).replace(microsecond=0)
CHECK = "morning-health-check"
SCHEDULED = {one.name: one.metadata.schedule for one in all_notebooks() if one.metadata.schedule}
# A path that each scheduler's file would read otherwise than a person, if it were written plainly.
STRANGE = "/srv/run book/100% $HOME `id` \\ {{ ds }} {# it's"


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
    echoed = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n' {command.partition('&&')[2]}"], capture_output=True, text=True
    )
    assert f"{STRANGE}/bin/python" in echoed.stdout.splitlines()
    assert shlex.split(command) == [
        *["mkdir", "-p", "-m", "700", f"{STRANGE}/locks", "&&", "/usr/bin/flock", "-n", "-E", "75"],
        *[f"{STRANGE}/locks/production.{CHECK}.lock", f"{STRANGE}/bin/python", "-P", "-m", "runbook"],
        *["run", CHECK, "--target", "production"],
    ]


def test_a_value_that_no_crontab_can_hold_is_refused(profile: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="both kinds of quotes"):
        crontab([], {"production": a_place(RUNBOOK_TARGETS="/a\"b'c")}, 0, "/usr/bin/flock")
    with pytest.raises(UsageError, match=r"RUNBOOK_TARGETS is 1\d\d\d bytes long, and cron reads 998"):
        crontab([], {"production": a_place(RUNBOOK_TARGETS="/é" * 400)}, 0, "/usr/bin/flock")
    with pytest.raises(UsageError, match=f"the command for {CHECK} on production is 1"):
        crontab([a_plan()], {"production": a_place("/long" * 100)}, 0, "/usr/bin/flock")
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
    strange = tmp_path / STRANGE[1:]
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


# A systemd of its own, for one user: it sees neither this machine's nor other processes, and ends with all of its.
A_SYSTEMD = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system -m 700 /run/user/0 || exit 3
mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/systemd || exit 3
mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd || exit 3
own=/sys/fs/cgroup/systemd/runbook-tests-$1
mkdir "$own" && echo $$ > "$own/cgroup.procs" || exit 3
shift
/lib/systemd/systemd --user --log-target=null --unit=basic.target &
for second in $(seq 30); do systemctl --user is-active --quiet basic.target && break; sleep 1; done
systemctl --user enable --now --quiet $(printf '%s.timer ' "$@")
for second in $(seq 60); do
    systemctl --user show -p ExecMainExitTimestampMonotonic $(printf '%s.service ' "$@") | grep -q '=0$' || break
    sleep 1
done
systemctl --user show -p Id,Result,ExecMainStatus,ActiveState $(printf '%s.service ' "$@") $(printf '%s.timer ' "$@")
systemctl --user exit
wait
echo $$ > /sys/fs/cgroup/systemd/cgroup.procs
find "$own" -depth -type d -exec rmdir {} +
"""


@pytest.mark.slow
def test_a_running_systemd_makes_up_for_what_was_missed_and_knows_a_verdict_from_a_failure(
    runbook: Call, profile: Write, collection: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists() or not shutil.which("unshare"):
        pytest.skip("a systemd of its own needs root, systemd and unshare")
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(tmp_path / STRANGE[1:]))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    names = [
        collection(OPEN, "run.ask(host.memory, warning=0, critical=101)", name="warns"),
        collection(OPEN, "run.ask(host.memory, warning=0, critical=0)", name="critical"),
        collection(OPEN, "1 / 0", name="breaks"),
    ]
    lines = "".join(f'{name} = "daily 06:00"\n' for name in names)
    target = profile(f'host.where = "here"\n[schedule]\n{lines}')
    units, stamps = tmp_path / ".config" / "systemd" / "user", tmp_path / ".local" / "share" / "systemd" / "timers"
    written = runbook("schedule", "systemd", "--target", target, "--jitter", "0", "--output", str(units))
    assert written.returncode == 0, written.stderr
    stamps.mkdir(parents=True)
    for name in names:  # when it was last begun: the machine slept since
        (stamps / f"stamp-runbook-{target}-{name}.timer").touch()
        os.utime(stamps / f"stamp-runbook-{target}-{name}.timer", ((NOW - timedelta(days=2)).timestamp(),) * 2)
    own = {
        "HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/0", "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent / "lib"),
    }  # fmt: skip
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = [*alone, "sh", "-c", A_SYSTEMD, "sh", str(os.getpid()), *(f"runbook-{target}-{name}" for name in names)]
    ended = subprocess.run(argv, capture_output=True, text=True, env=own, timeout=120)
    if ended.returncode == 3:
        pytest.skip(f"no systemd of its own: {ended.stderr}")
    parts = [dict(line.split("=", 1) for line in part.splitlines()) for part in ended.stdout.strip().split("\n\n")]
    told = {part.pop("Id").removeprefix(f"runbook-{target}-"): part for part in parts}
    assert told == {
        "warns.service": {"Result": "success", "ExecMainStatus": "1", "ActiveState": "inactive"},
        "critical.service": {"Result": "exit-code", "ExecMainStatus": "2", "ActiveState": "failed"},
        "breaks.service": {"Result": "exit-code", "ExecMainStatus": "70", "ActiveState": "failed"},
        **{f"{name}.timer": {"Result": "success", "ActiveState": "active"} for name in names},
    }, ended.stderr
    shown = json.loads(runbook("schedule", "show", "--target", target, "--json").stdout)["schedule"]
    assert {one["notebook"]: one["overdue"] for one in shown} == {"warns": False, "critical": False, "breaks": True}


def test_a_timer_of_what_is_not_scheduled_any_more_is_told(runbook: Call, profile: Write, tmp_path: Path) -> None:
    folder = tmp_path / "units"

    def write(text: str, name: str = "eu") -> str:
        ended = runbook("schedule", "systemd", "--target", profile(text, name), "--output", str(folder))
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    assert write("", "eu-west") == "" and write("") == ""
    told = write(f'[schedule]\n{CHECK} = "off"\n')
    left = folder / f"runbook-eu-{CHECK}.timer"
    assert told == f"runbook: {left} is of a run that is not scheduled any more: disable it, and remove it\n"
    assert left.exists()  # it may be enabled: systemd is to be told first


# --- Airflow: test_airflow.py gives the file to Airflow itself


def written(text: str) -> dict[str, Any]:
    """Return what the file of the DAGs says before it comes to Airflow."""
    settings = (one for one in ast.parse(text).body if isinstance(one, ast.Assign))
    return {one.targets[0].id: ast.literal_eval(one.value) for one in settings}  # type: ignore[attr-defined]


def test_the_dags_are_one_for_each_moment_and_a_task_for_each_notebook(runbook: Call, profile: Write) -> None:
    text = f'[schedule]\n{CHECK} = "daily 07:30"\nalert-rules = "off"\nlog-analysis = "weekly sun 23:59"\n'
    text += 'security-audit = "monthly 3"\n[api]\nurl = "http://h"\ntoken = "env:THE_TOKEN"\n'
    ended = runbook("schedule", "airflow", "--target", profile(text), "--target", profile("", "third"), "--jitter", "0")
    assert ended.returncode == 0, ended.stderr
    assert "environment is to hold: THE_TOKEN\n" in ended.stdout
    told = written(ended.stdout)
    moments = {name: (dag["target"], dag["cron"]) for name, dag in told["DAGS"].items()}
    assert moments == {
        "runbook-other-daily": ("other", "0 6 * * *"), "runbook-other-daily-0730": ("other", "30 7 * * *"),
        "runbook-other-weekly": ("other", "0 6 * * 1"), "runbook-other-weekly-sun-2359": ("other", "59 23 * * 0"),
        "runbook-other-monthly": ("other", "0 6 1 * *"), "runbook-other-monthly-3-0600": ("other", "0 6 3 * *"),
        "runbook-third-daily": ("third", "0 6 * * *"), "runbook-third-weekly": ("third", "0 6 * * 1"),
        "runbook-third-monthly": ("third", "0 6 1 * *"),
    }  # fmt: skip
    assert list(told["DAGS"]["runbook-other-daily-0730"]["notebooks"]) == [CHECK]
    of_third = [name for dag in told["DAGS"].values() if dag["target"] == "third" for name in dag["notebooks"]]
    assert sorted(of_third) == sorted(SCHEDULED)
    lint = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "B,F,UP,AIR",
        "-",
    ]  # AIR: Airflow's own rules
    linted = subprocess.run(lint, input=ended.stdout, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    there = told["TARGETS"]["third"]
    assert there["runner"] == [sys.executable, "-P", "-m", "runbook"] and there["seconds"] == 420
    assert there["environment"]["RUNBOOK_TARGETS"] == os.environ["RUNBOOK_TARGETS"]


def test_all_that_the_file_of_the_dags_names_is_a_text_in_it(profile: Write) -> None:
    strange = STRANGE + ' "quoted" \U0001f990 ZONE = "Etc/UTC"'
    how: dict[str, Any] = {"zone": "Etc/UTC", "jitter": 0, "seconds": {"production": 420}}
    told = written(dags([a_plan()], {"production": a_place(strange, RUNBOOK_TARGETS=strange)}, **how))
    assert told["TARGETS"]["production"]["runner"][0] == f"{strange}/bin/python"
    assert told["TARGETS"]["production"]["environment"] == {"RUNBOOK_TARGETS": strange}
    assert told["DAGS"]["runbook-production-daily-0730"]["notebooks"] == {CHECK: "Is 100% well?"}


@pytest.mark.parametrize("served", ["", "https://evidence.example/archive/"])
def test_a_runs_last_line_tells_a_scheduler_how_it_ended_and_where_the_evidence_is(
    served: str, runbook: Call, profile: Write, collection: Write, archive: Path
) -> None:
    name = collection(OPEN, "run.ask(host.memory, warning=0, critical=101)", "run.summary()")
    more = f'communication.evidence_url = "{served}"\n' if served else ""
    ended = runbook("run", name, "--target", profile(f'{more}host.where = "here"\n'), "--line")
    told = json.loads(ended.stdout.splitlines()[-1])
    (run,) = told.pop("runs")
    assert told == {"schema": 1, "exit": 1, "error": None}
    assert set(run) == {"notebook", "target", "run_id", "status", "exit", "error", "report"}  # no plan, no token
    assert (run["notebook"], run["target"], run["status"], run["exit"]) == (name, "other", "WARNING", ended.returncode)
    page = archive / "runs" / f"{run['run_id'][4:8]}-{run['run_id'][8:10]}" / run["run_id"] / "report.html"
    assert page.exists()
    assert run["report"] == (f"{served}{page.relative_to(archive)}" if served else page.as_uri())


@pytest.mark.parametrize(
    ("call", "status", "says"),
    [(["mourning-check"], 64, "unknown notebook 'mourning-check'"), ([CHECK, "--target", "no"], 64, "unknown target"),
     ([CHECK, "-p", "hours"], 64, "hours"), (["--resume"], 64, "")],
)  # fmt: skip
def test_the_last_line_tells_why_nothing_was_run(
    call: list[str], status: int, says: str, runbook: Call, kept: Path
) -> None:
    ended = runbook("run", *call, "--line")
    told = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == told["exit"] == status and told["runs"] == []
    assert told["error"] and says in told["error"] and ended.stderr == f"runbook: {told['error']}\n"


def test_a_document_has_no_last_line(runbook: Call) -> None:
    ended = runbook("run", CHECK, "--json", "--line")
    assert (ended.returncode, ended.stdout) == (64, "") and "--json is one document" in ended.stderr


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


def test_all_cron_jobs_pass_the_schemas_of_kubernetes(
    runbook: Call, profile: Write, tools: str, tmp_path: Path
) -> None:
    targets = ["--target", profile("", "EU_production"), "--target", profile("", "a" * 70)]
    assert runbook("schedule", "kubernetes", *targets, "--output", str(tmp_path)).returncode == 0
    argv = [str(Path(tools).with_name("kubernetes-validate")), "--strict", str(tmp_path / "cronjobs.yaml")]
    passed = subprocess.run(argv, capture_output=True, text=True)
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.count("passed for resource cronjob/runbook-") == 2 * len(SCHEDULED)
    # They would have told: of another key, and of a number that is none.
    text = (tmp_path / "cronjobs.yaml").read_text()
    for right, wrong in (("backoffLimit: 0", "backOffLimit: 0"), ("backoffLimit: 0", "backoffLimit: none")):
        (tmp_path / "cronjobs.yaml").write_text(text.replace(right, wrong, 1))
        assert subprocess.run(argv, capture_output=True).returncode != 0


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


def leave(archive: Path, notebook: str, *ended: tuple[float, Status], version: str = "") -> list[Path]:
    """Leave runs of a notebook that ended so many days ago with this verdict, and saw this version of the service."""
    runs = [
        (NOW - timedelta(days=days), [Finding(check="host.disk", object="/", status=status, message="it is so")], {})
        for days, status in ended
    ]
    return leave_runs(archive, runs, notebook=notebook, target="other", version=version)


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
    assert read_past(kept, ["sandbox"], NOW, 100).last == {}


def test_what_was_not_clean_since_the_version_of_the_service_changed_has_drifted(
    runbook: Call, profile: Write, kept: Path
) -> None:
    ok, warning = Status.OK, Status.WARNING
    leave(kept, CHECK, (3.0, ok), (2.0, ok), version="1.0.0")
    leave(kept, CHECK, (1.5, warning), (0.9, ok), version="1.1.0\x1b[2J\nEvil")
    leave(kept, "key-metrics", (2.5, ok), (0.5, warning), version="1.1.0\x1b[2J\nEvil")
    leave(kept, "log-review", (1.6, ok), (0.5, warning))  # it asks the service nothing
    leave(kept, "verify-backups", (1.0, ok))
    leave(kept, "security-audit", (20.0, ok))
    ended = runbook("schedule", "show", "--target", profile(""), "--json")
    told = {one["notebook"]: one for one in json.loads(ended.stdout)["schedule"]}
    drifted = {name for name, one in told.items() if one["last_clean"] and one["drifted"]}
    assert ended.returncode == 1
    assert drifted == {"key-metrics", "log-review", "security-audit"}
    assert told["security-audit"]["state"] == "drifted" and not told["security-audit"]["overdue"]
    assert told["security-audit"]["not_clean_since"] == {
        "version": "1.1.0\x1b[2J\nEvil", "version_before": "1.0.0",
        "after": (NOW - timedelta(days=2)).isoformat(), "seen": (NOW - timedelta(days=1.5)).isoformat(),
    }  # fmt: skip
    assert told[CHECK]["not_clean_since"] is None and told["verify-backups"]["not_clean_since"] is None
    text = runbook("schedule", "show", "--target", "other").stdout
    after, seen = (f"{NOW - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (2, 1.5))
    line = next(line for line in text.splitlines() if "log-review" in line)
    said = f"not clean since the service's version changed from 1.0.0 to 1.1.0�[2J Evil (between {after} and {seen})"
    assert line.startswith("drifted ") and line.endswith(said)


def test_a_version_that_was_not_told_or_did_not_change_is_no_change(runbook: Call, profile: Write, kept: Path) -> None:
    leave(kept, CHECK, (3.0, Status.OK), (0.5, Status.OK), version="1.0.0")
    leave(kept, "key-metrics", (2.0, Status.OK), (0.5, Status.WARNING), version="not told")
    leave(kept, "log-review", (0.5, Status.OK))
    ended = runbook("schedule", "show", "--target", profile(""), "--json")
    assert all(one["not_clean_since"] is None for one in json.loads(ended.stdout)["schedule"])


def test_a_host_that_slept_for_a_day_is_told_by_what_is_overdue(runbook: Call, profile: Write, kept: Path) -> None:
    for name in SCHEDULED:
        leave(kept, name, (1.2, Status.OK))
    ended = runbook("schedule", "show", "--target", profile(""), "--json")
    late = {one["notebook"] for one in json.loads(ended.stdout)["schedule"] if one["state"] == "overdue"}
    assert ended.returncode == 1 and late == {name for name, period in SCHEDULED.items() if period == "daily"}


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


def test_who_reads_the_beginning_only_is_told_of_no_mistake(profile: Write, kept: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    profile("")
    argv = [sys.executable, "-m", "runbook", "schedule", "cron", *["--target", "other", "--target", "sandbox"]]
    ended = subprocess.run(argv, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert ended.stderr == ""


def test_an_archive_in_which_something_else_lies_is_told(kept: Path) -> None:
    (kept / "runs" / "what-is-this").mkdir(parents=True)
    with pytest.raises(RunFailed, match=r"cannot be read: .*what-is-this"):
        read_past(kept, ["other"], NOW, 100)


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
        (["airflow", "--timezone", "../etc"], "'../etc' is no time zone"),
        (["nomad"], "invalid choice"),
    ],
)
def test_a_call_that_is_wrong_is_told_in_one_sentence(arguments: list[str], says: str, capsys: Any) -> None:
    parser = Parser(prog="runbook schedule")
    add_commands(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (64, "") and says in told.err


@pytest.mark.parametrize("what", ["show", "cron", "systemd", "kubernetes", "airflow"])
@pytest.mark.parametrize("name", ["nowhere", "{{ ds }}", "a'b", 'a"b', "a b", "$HOME", "100%", "../other", "a\nb", ""])
def test_a_target_whose_name_is_none_is_told_by_each_command(what: str, name: str, runbook: Call) -> None:
    ended = runbook("schedule", what, "--target", name)
    assert (ended.returncode, ended.stdout) == (64, "") and ended.stderr.startswith(f"runbook: unknown target {name!r}")


@pytest.mark.parametrize("what", ["show", "cron", "systemd", "kubernetes", "airflow"])
def test_a_schedule_that_does_not_parse_is_told_by_each_command(what: str, runbook: Call, profile: Write) -> None:
    ended = runbook("schedule", what, "--target", profile(f'[schedule]\n{CHECK} = "0 7 * * *"\n'))
    assert (ended.returncode, ended.stdout) == (64, "") and ended.stderr.count("\n") == 1
    assert f"line 2: schedule.{CHECK}: this is no schedule; write " in ended.stderr


@pytest.mark.parametrize("name", ["a b", "a.b", "it's", "{{ ds }}", "$HOME", "100%", "ä", "a" * 64])
def test_a_notebook_whose_name_no_scheduler_takes_is_told_where_it_is_scheduled(
    name: str, profile: Write, collection: Write
) -> None:
    collection("1", name=name)
    assert planned_for(load_target(profile("")), all_notebooks()) == []
    with pytest.raises(UsageError, match="to be scheduled, let its name be of letters"):
        planned_for(load_target(profile(f"[schedule]\n{json.dumps(name)} = 'daily'\n")), all_notebooks())


def test_a_folder_that_cannot_be_written_is_told(runbook: Call, profile: Write, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = runbook("schedule", "systemd", "--target", profile(""), "--output", str(tmp_path / "file"))
    assert ended.returncode == 70 and "cannot be written" in ended.stderr
