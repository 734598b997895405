"""Many targets in one call: named one by one or by groups, each at its own cost, all told in one place."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import canary, find_browser, payloads, ran, without_policy
from running import OPEN, by_check

from runbook.evidence.fleet_page import fleet_page
from runbook.evidence.index import Entry
from runbook.serving.pages import open_served

Call = Callable[..., subprocess.CompletedProcess[str]]
HERE = '[host]\nwhere = "here"\n'


@pytest.fixture
def groups(profile: Callable[..., str]) -> Callable[[str], None]:
    """Write the file of groups, beside the profiles of this test: three targets that look at this machine."""
    for name in ("berlin", "paris", "rome"):
        profile(HERE, name)

    def write(text: str) -> None:
        profile(text, "groups")

    return write


def looks(collection: Callable[..., str], *more: str, name: str = "looks") -> str:
    return collection(OPEN, "run.ask(host.memory)", *more, name=name)


# --- which targets


def test_a_group_is_run_on_each_of_its_targets_in_its_order(
    groups: Callable[[str], None], collection: Callable[..., str], run_json: Callable[..., Any], runbook: Call,
    archive: Path, home: Path,
) -> None:  # fmt: skip
    groups('eu = ["rome", "berlin"]\nall = ["paris", "@eu"]\n')
    first, second = looks(collection), looks(collection, name="again")
    status, document = run_json(first, second, "--target", "@all")
    told = [(record.target, record.notebook) for record in document.runs]
    assert told == [(target, name) for target in ("paris", "rome", "berlin") for name in (first, second)]
    assert status == 0 and runbook("evidence", "verify").returncode == 0


def test_a_target_that_is_named_twice_is_run_once_and_that_is_said(
    groups: Callable[[str], None], collection: Callable[..., str], runbook: Call, archive: Path
) -> None:
    groups('eu = ["rome", "berlin"]\n')
    named = [word for name in ("berlin", "@eu", "rome", "rome") for word in ("--target", name)]
    ended = runbook("run", looks(collection), *named, "--json")
    assert ended.returncode == 0 and len(list(archive.rglob("seal.json"))) == 2
    assert "berlin is named more than once (berlin, @eu): it is run once" in ended.stderr
    assert "rome is named more than once (@eu, rome, rome): it is run once" in ended.stderr


@pytest.mark.parametrize(
    ("text", "named", "told"),
    [
        ('eu = ["rome"]\n', "@ue", "unknown group '@ue'; known groups: @eu (searched: "),
        ("", "@eu", "unknown group '@eu'; there is none"),
        ("eu = []\n", "@eu", "the group @eu names no target"),
        ('all = ["rome", "@eu"]\neu = []\n', "@all", "the group @eu names no target"),
        ('a = ["@b"]\nb = ["rome", "@a"]\n', "@a", "the group @a holds itself: @a → @b → @a"),
        ('eu = "rome"\n', "@eu", 'eu is to be a list of targets and groups, such as ["berlin", "@eu"]'),
        ('eu = ["../rome"]\n', "@eu", "'../rome' is neither the name of a target nor of a group"),
        ("eu = [rome]\n", "@eu", "groups.toml is not TOML: "),
        ('eu = ["rome"]\n', "groups", "unknown target 'groups'"),
        ('eu = ["rome"]\n', "nowhere", "unknown target 'nowhere'; known targets: berlin, paris, rome, sandbox"),
    ],
)
def test_what_is_named_wrongly_is_64_and_nothing_is_started(
    text: str, named: str, told: str, groups: Callable[[str], None], collection: Callable[..., str], runbook: Call,
    archive: Path,
) -> None:  # fmt: skip
    groups(text)
    ended = runbook("run", looks(collection), "--target", "rome", "--target", named)
    assert ended.returncode == 64 and told in ended.stderr and not archive.exists()


def test_a_plan_is_confirmed_on_one_target_however_it_is_named(
    groups: Callable[[str], None], runbook: Call, archive: Path
) -> None:
    groups('eu = ["rome", "berlin"]\n')
    ended = runbook("run", "api-down", "--target", "@eu", "--confirm", "pln_aaaaaaaaaaaa")
    assert ended.returncode == 64 and "name its one notebook and its one target" in ended.stderr


# --- what one target costs the others


def test_a_broken_profile_is_told_sealed_and_gone_on_with_and_the_other_targets_run(
    groups: Callable[[str], None], profile: Callable[..., str], collection: Callable[..., str],
    run_json: Callable[..., Any], runbook: Call, archive: Path, home: Path,
) -> None:  # fmt: skip
    groups('all = ["rome", "oslo", "berlin", "gone", "paris"]\n')
    profile("[host\n", "oslo")
    profile('[thresholds."host.memroy"]\nwarning = 1\n', "berlin")
    name = looks(collection)
    ended = runbook("run", name, "--target", "@all")
    assert ended.returncode == 70
    assert f"{name} on oslo: not run: profile" in ended.stdout and "oslo.toml is not TOML" in ended.stdout
    assert "did you mean host.memory?" in ended.stdout and "unknown target 'gone'" in ended.stdout
    assert "when the profile is mended, `run --resume` goes on" in ended.stderr
    assert "OK         looks on rome: host.memory: " in ended.stdout
    verified = runbook("evidence", "verify")
    assert verified.returncode == 0 and "5 runs are what was sealed" in verified.stdout, "also those not begun"
    for mended in ("oslo", "berlin", "gone"):
        profile(HERE, mended)
    status, document = run_json("--resume")
    assert status == 0 and [record.target for record in document.runs] == ["rome", "oslo", "berlin", "gone", "paris"]
    assert len(list(archive.rglob("seal.json"))) == 8, "what was done is told, and not done again"


def test_where_every_profile_is_broken_nothing_is_started(
    groups: Callable[[str], None], profile: Callable[..., str], collection: Callable[..., str], runbook: Call,
    archive: Path,
) -> None:  # fmt: skip
    groups('bad = ["oslo", "kyiv"]\n')
    for name in ("oslo", "kyiv"):
        profile("[host\n", name)
    ended = runbook("run", looks(collection), "--target", "@bad")
    assert ended.returncode == 64 and "oslo.toml is not TOML" in ended.stderr and "kyiv.toml" in ended.stderr
    assert not archive.exists()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_dead_and_hanging_targets_cost_their_own_deadlines_and_no_other_targets(
    groups: Callable[[str], None], profile: Callable[..., str], collection: Callable[..., str],
    run_json: Callable[..., Any], archive: Path, home: Path, silent: int,
) -> None:  # fmt: skip
    """One accepts and never answers, one refuses, one makes its notebook hang."""
    groups('all = ["hangs", "rome", "dead", "stuck", "berlin", "paris"]\n')
    bounds = "[deadlines]\nconnect = 1\nrun = {run}\n"
    for name, port, run in (("hangs", silent, 20), ("dead", 1, 20), ("stuck", 1, 2)):
        profile(HERE + f'[redis]\nurl = "redis://127.0.0.1:{port}"\n' + bounds.format(run=run), name)
    opening = OPEN.replace("from runbook import host", "from runbook import host, redis").replace(
        '["host"]', '["host", "redis"] if target in ("hangs", "dead") else ["host"]'
    )
    asked = "run.ask(redis.memory) if target in ('hangs', 'dead') else run.ask(host.memory)"
    wait = "import time\ntime.sleep(60 if target == 'stuck' else 0)"
    status, document = run_json(collection(opening, asked, wait), "--target", "@all", "--jobs", "2")
    told = {record.target: record for record in document.runs}
    assert status == 70 and "took longer than its deadline of 2 s" in str(told["stuck"].error)
    for name in ("rome", "berlin", "paris"):
        assert told[name].status == "OK" and set(by_check(told[name])) == {"host.memory"}
    for name in ("hangs", "dead"):
        assert told[name].status == "UNKNOWN" and told[name].error is None


def test_the_worst_of_all_targets_is_the_exit_status(
    groups: Callable[[str], None], collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    groups('eu = ["rome", "berlin"]\n')
    name = collection(OPEN, "run.ask(host.memory, **({'warning': 0} if target == 'berlin' else {}))")
    status, document = run_json(name, "--target", "@eu")
    assert status == 1 and [record.status for record in document.runs] == ["OK", "WARNING"]


# --- on one page


def cells(page: str, target: str) -> list[tuple[str, str]]:
    """Return of each cell in a target's row where it leads and which word stands there."""
    (row,) = re.findall(rf'<tr><th scope="row">{target}</th>(.*?)</tr>', page)
    return [
        (re.search('href="([^"]*)"', cell)[1], re.search("</span> ([A-Z ]+)</span>", cell)[1])  # type: ignore[index]
        if "href" in cell
        else ("", cell)
        for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)
    ]


def test_the_page_of_targets_and_notebooks_shows_each_last_run_in_words_and_leads_to_it(
    groups: Callable[[str], None], profile: Callable[..., str], collection: Callable[..., str],
    run_json: Callable[..., Any], runbook: Call, archive: Path,
) -> None:  # fmt: skip
    groups('eu = ["rome", "berlin", "oslo"]\n')
    profile("[host\n", "oslo")
    first = collection(OPEN, "run.ask(host.memory, **({'warning': 0} if target == 'berlin' else {}))")
    second = looks(collection, name="zweites")
    assert run_json(second, "--target", "rome")[0] == 0
    assert not (archive / "fleet.html").exists(), "one target has no need of it"
    ended = runbook("run", first, "--target", "@eu")
    page = (archive / "fleet.html").read_text()
    assert f"all targets: {archive / 'fleet.html'}" in ended.stdout
    assert re.findall(r'<th scope="row">(\w+)</th>', page) == ["oslo", "berlin", "rome"], "the worst comes first"
    told = {target: cells(page, target) for target in ("oslo", "berlin", "rome")}
    assert [told[target][0][1] for target in told] == ["FAILED", "WARNING", "OK"]
    assert told["oslo"][1] == ("", "never run") and told["rome"][1][1] == "OK"
    assert all((archive / place).is_file() for row in told.values() for place, _ in row if place)
    assert 'href="fleet.html"' in (archive / "index.html").read_text() and "<script" not in page
    assert runbook("evidence", "verify").returncode == 0
    open_served(archive, "fleet.html").close()
    (archive / "fleet.html").write_text(page.replace("FAILED", "OK"))
    verified = runbook("evidence", "verify")
    assert verified.returncode == 1 and "fleet.html is not as it was written" in verified.stderr
    runbook("evidence", "index")
    assert (archive / "fleet.html").read_text() == page


def test_no_payload_in_a_record_runs_on_that_page(tmp_path: Path) -> None:
    browser = find_browser(tmp_path)
    with canary() as bird:
        texts = payloads(bird.address)
        entries = [
            Entry(
                stamp=[0, 0, 0], run_id=f"run_20261124T0800{n:02}Z_probe_abcdef", worst=text,
                **dict.fromkeys(("status", "notebook", "target"), text),
            )
            for n, text in enumerate(texts)
        ]  # fmt: skip
        page = fleet_page(entries)
        assert page is not None
        (tmp_path / "fleet.html").write_bytes(without_policy(page))
        dom = browser.dom(tmp_path / "fleet.html")
    assert not ran(dom) and bird.asked == [] and "<script" not in dom


@pytest.mark.slow
def test_of_many_runs_those_that_are_ok_are_one_line(
    profile: Callable[..., str], collection: Callable[..., str], runbook: Call, archive: Path
) -> None:
    names = [profile(HERE, f"t{number}") for number in range(41)]
    name = collection(OPEN, "run.ask(host.memory, **({'warning': 0} if target == 't7' else {}))")
    profile(f"all = {names}\n", "groups")
    ended = runbook("run", name, "--target", "@all")
    _, table = ended.stdout.split("┏")
    assert ended.returncode == 1 and "40 other runs, on 40 targets: OK" in table
    assert "│ probe" in table and "t7" in table and "t8" not in table and "evidence of probe on t7: " in table
