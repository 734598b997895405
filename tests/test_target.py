"""Profiles of targets: what is refused, in which line, and that no secret is ever repeated."""

import re
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import runbook.target
from runbook.cli.names import check_names
from runbook.kernels.questions import all_questions
from runbook.model import CouldNotFindOut, UsageError
from runbook.target import load_target, profile_folders, resolve, target_names

EXAMPLE = Path(runbook.target.__file__).parent / "profiles" / "production.toml"
SECRET = "hunter2-S3cret"
Write = Callable[..., str]


def refusal(name: str) -> str:
    with pytest.raises(UsageError) as refused:
        load_target(name)
    return str(refused.value)


# --- finding a profile


def test_an_unknown_target_is_told_with_the_known_ones_the_near_one_and_where_was_searched(profile: Write) -> None:
    profile("", "production")
    said = refusal("prodution")
    assert "unknown target 'prodution'" in said
    assert "known targets: production, sandbox" in said and "Did you mean production?" in said
    assert all(str(folder) in said for folder in profile_folders())


def test_a_far_name_gets_no_guess(profile: Write) -> None:
    assert "Did you mean" not in refusal("zzz")


def test_without_any_profile_the_way_to_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_TARGETS", str(tmp_path))
    monkeypatch.setattr("runbook.target.find.platformdirs.user_config_path", lambda _: tmp_path / "none")
    assert "`sandbox up` makes one" in refusal("sandbox")


@pytest.mark.parametrize("name", ["../other", "a/b", "", ".", "0123", "other.toml", "other\n"])
def test_a_name_is_a_name_and_no_path(name: str, profile: Write, tmp_path: Path) -> None:
    profile("")
    (tmp_path / "0123.toml").touch()
    assert "unknown target" in refusal(name)


def test_the_first_folder_that_has_a_profile_wins(profile: Write, tmp_path: Path, monkeypatch: Any) -> None:
    later = tmp_path / "later"
    later.mkdir()
    (later / "other.toml").write_text('description = "later"')
    (later / "second.toml").write_text("")
    monkeypatch.setenv("RUNBOOK_TARGETS", f"{tmp_path}:{later}")
    assert load_target(profile('description = "first"')).description == "first"
    assert {"other", "second"} <= set(target_names())


def test_a_profile_that_names_itself_is_refused(profile: Write) -> None:
    assert "the file's name is the target's name" in refusal(profile('name = "x"'))


def test_a_profile_that_is_no_text_is_refused(profile: Write, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_bytes(b'description = "\xff"')
    assert "not UTF-8" in refusal("other")


# --- mistakes and their lines


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[api]\nurl = "http://h"\nurll = "x"\n', "line 3: api.urll: unknown key"),
        ('\n# comment\n[databse]\ndsn = "x"\n', "line 3: databse: unknown key"),
        ("[host.share]\nfolder = '/x'\nfiles = 0\n", "line 3: host.share.files: "),
        ('api.url = "http://h"\napi.urll = "x"\n', "line 2: api.urll: unknown key"),
        ('api = { url = "http://h", urll = "x" }\n', "line 1: api.urll: unknown key"),
        ('[deadlines]\nconnect = "soon"\n', "line 2: deadlines.connect: "),
        ("[deadlines]\nrun = -1\n", "line 2: deadlines.run: "),
        ('[thresholds."queue.size"]\nwarning = "many"\n', "line 2: thresholds.queue.size.warning: "),
        ('[[contacts]]\nname = "a"\nhow = "b"\n[[contacts]]\nname = "c"\nhwo = "d"\n', "line 6: contacts.1.hwo: "),
        ('[[contacts]]\nname = "a"\nhow = "b"\n[[contacts]]\nname = "c"\n', "line 4: contacts.1.how: "),
        ('[[acknowledge]]\ncheck = "a"\nreason = ""\nuntil = 2031-01-31\n', "line 3: acknowledge.0.reason: "),
        ('[[acknowledge]]\ncheck = "a"\nreason = "x"\nuntil = "soon"\n', "line 4: acknowledge.0.until: "),
        ('[[not_applicable]]\ncheck = "a"\n', "line 1: not_applicable.0.reason: "),
        ('[api]\nurl = "http://h"\nuser_request = "documents"\n', "line 3: api.user_request: "),
        ('[host]\nwhere = "there"\n', "line 2: host.where: "),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_key(text: str, says: str, profile: Write) -> None:
    assert says in refusal(profile(text))


def test_all_mistakes_are_told_at_once(profile: Write) -> None:
    said = refusal(profile("[api]\nurl = 5\n[redis]\nurl = 6\n"))
    assert "line 2: api.url" in said and "line 4: redis.url" in said


@pytest.mark.parametrize(
    "dsn", ["nonsense", "postgresql://[::1/d", "postgresql://h:port/d", "host=h prot=1 dbname=d", "mysql://h/d", ""]
)
def test_a_dsn_that_cannot_be_read_is_refused_with_the_right_form(dsn: str, profile: Write) -> None:
    assert "line 2: postgres.dsn: " in refusal(profile(f'[postgres]\ndsn = "{dsn}"\n'))


@pytest.mark.parametrize("dsn", ["postgresql://u@h", "postgresql://u@h/", "host=h user=u", "service=production"])
@pytest.mark.parametrize("key", ["dsn", "application_dsn"])
def test_a_dsn_without_its_database_is_refused(key: str, dsn: str, profile: Write) -> None:
    dsns = {"dsn": "dbname=d", key: dsn}
    said = refusal(profile("[postgres]\n" + "".join(f'{k} = "{v}"\n' for k, v in dsns.items())))
    assert f"postgres.{key}: the database is not named" in said


@pytest.mark.parametrize("dsn", ["postgresql://u@h:5433/d", "postgresql:///d", "host=/run/postgresql dbname=d user=u"])
def test_a_dsn_in_either_form_is_taken_as_it_stands(dsn: str, profile: Write) -> None:
    postgres = load_target(profile(f'[postgres]\ndsn = "{dsn}"\n')).postgres
    assert postgres is not None and postgres.dsn == dsn


@pytest.mark.parametrize(
    ("part", "url"),
    [("api", "h:8000"), ("api", "ftp://h"), ("api", "http://"), ("api", "http://h:port"), ("redis", "http://h"),
     ("redis", "redis://h:99999999"), ("redis", "localhost:6379")],
)  # fmt: skip
def test_what_is_no_address_is_refused(part: str, url: str, profile: Write) -> None:
    assert f"line 2: {part}.url: " in refusal(profile(f'[{part}]\nurl = "{url}"\n'))


def test_a_threshold_that_no_value_can_pass_is_refused(profile: Write) -> None:
    assert "line 2: thresholds.queue.size.warning: " in refusal(profile('[thresholds."queue.size"]\nwarning = nan\n'))


def test_a_limit_may_be_put_out_of_reach_on_purpose(profile: Write) -> None:
    thresholds = load_target(profile('[thresholds."queue.size"]\ncritical = inf\n')).thresholds
    assert thresholds == {"queue.size": {"critical": float("inf")}}


# --- secrets

LITERAL = [
    ('[redis]\nurl = "redis://h"\npassword = "{}"\n', "line 3: redis.password: "),
    ('[api]\nurl = "http://h"\n\ntoken = "{}"\n', "line 4: api.token: "),
    ('[postgres]\ndsn = "dbname=d"\npassword = "{}"\n', "line 3: postgres.password: "),
    ('[postgres]\ndsn = "dbname=d"\napplication_password = "{}"\n', "line 3: postgres.application_password: "),
    ('[postgres]\ndsn = "postgresql://u:{}@h/d"\n', "line 2: postgres.dsn: "),
    ('[postgres]\ndsn = "postgresql://u@h/d?password={}"\n', "line 2: postgres.dsn: "),
    ('[postgres]\ndsn = "host=h dbname=d password={}"\n', "line 2: postgres.dsn: "),
    ('[postgres]\ndsn = "host=h dbname=d sslpassword={}"\n', "line 2: postgres.dsn: "),
    ('[postgres]\ndsn = "host=h dbname=d oauth_client_secret={}"\n', "line 2: postgres.dsn: "),
    ('[postgres]\ndsn = "dbname=d"\napplication_dsn = "postgresql://u:{}@h/d"\n', "line 3: postgres.application_dsn: "),
    ('[redis]\nurl = "redis://:{}@h:6379/0"\n', "line 2: redis.url: "),
    ('[redis]\nurl = "rediss://u:{}@h"\n', "line 2: redis.url: "),
    ('[redis]\nurl = "redis://h:6379/0?password={}"\n', "line 2: redis.url: "),
    ('[redis]\nurl = "unix:///run/redis.sock?db=0&password={}"\n', "line 2: redis.url: "),
    ('[api]\nurl = "https://u:{}@h"\n', "line 2: api.url: "),
]


@pytest.mark.parametrize(("text", "says"), LITERAL)
def test_a_literal_secret_is_refused_with_its_line_and_never_repeated(text: str, says: str, profile: Write) -> None:
    said = refusal(profile(text.format(SECRET)))
    assert says in said and SECRET not in said


@pytest.mark.parametrize("text", ['[redis]\nurl = "redis://h"\npassword = "{}"\n', '[redis]\nurl = "redis://:{}@h"\n'])
def test_who_wrote_a_literal_secret_is_told_how_to_name_it(text: str, profile: Write) -> None:
    assert "env:NAME" in refusal(profile(text.format(SECRET)))


@pytest.mark.parametrize(
    "text",
    [
        '[redis]\nurl = "redis://h"\npassword = "{}\n',
        "[redis]\npassword = {}\n",
        '[redis]\npassword = "a"\npassword = "{}"\n',
        '[api]\ntoken "{}"\n',
        '{} = "\\q"\n',
        "[{}\n",
        '[redis]\npassword = """{}',
        '[redis]\npasword = "{}"\nurl = "redis://h"\n',
        '[databse]\npassword = "{}"\n',
        '[redis]\nurl = "redis://h"\npassword = ["{}"]\n',
        '[redis]\nurl = "redis://h"\npassword = {{ is = "{}" }}\n',
        '[postgres]\ndsn = "postgresql://u:{}@[h/d"\n',
        '[postgres]\ndsn = "password={} nonsense"\n',
        '[redis]\nurl = "redis://u:{}@h:port"\n',
        'api = "{}"\n',
        '[thresholds."queue.size"]\nwarning = "{}"\n',
    ],
)
def test_a_broken_profile_is_refused_without_repeating_what_stands_in_it(text: str, profile: Write) -> None:
    said = refusal(profile(text.format(SECRET)))
    assert SECRET not in said and "hunter2" not in said
    assert "line " in said or "end of document" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('token = "env:T"\nusername = "a"\npassword = "env:P"', "not both"),
        ('username = "a"', "go together"),
        ('password = "env:P"', "go together"),
        ('jobs = { api = "x\\"} or vector(1)" }', "jobs.api"),
    ],
)
def test_prometheus_is_asked_in_one_way_and_by_names_that_are_names(more: str, says: str, profile: Write) -> None:
    assert says in refusal(profile(f'[prometheus]\nurl = "http://127.0.0.1:9090"\n{more}'))


def test_a_number_as_password_is_refused_and_not_repeated(profile: Write) -> None:
    said = refusal(profile('[redis]\nurl = "redis://h"\npassword = 12345678\n'))
    assert "line 3: redis.password: " in said and "12345678" not in said


@pytest.mark.parametrize(
    "reference", ["env:", "env:A-B", "file:relative", "keyring:only-service", "ENV:NAME", "vault:x"]
)
def test_what_only_resembles_a_reference_is_refused(reference: str, profile: Write) -> None:
    said = refusal(profile(f'[redis]\nurl = "redis://h"\npassword = "{reference}"\n'))
    assert "line 3: redis.password: a secret stands here itself, or something that is no reference" in said


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_SECRET", SECRET)
    assert resolve("env:OWN_SECRET") == SECRET


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OWN_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("OWN_SECRET", value)
    with pytest.raises(CouldNotFindOut, match="OWN_SECRET is not set"):
        resolve("env:OWN_SECRET")


@pytest.mark.parametrize("written", [f"{SECRET}\n", f"{SECRET}\r\n", SECRET])
def test_a_secret_comes_from_a_file_without_its_line_end(written: str, tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(written.encode())
    assert resolve(f"file:{tmp_path}/word") == SECRET


def test_spaces_of_a_secret_in_a_file_are_kept(tmp_path: Path) -> None:
    (tmp_path / "word").write_text(f" {SECRET} \n")
    assert resolve(f"file:{tmp_path}/word") == f" {SECRET} "


def test_a_file_below_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "word").write_text(SECRET)
    assert resolve("file:~/word") == SECRET


@pytest.mark.parametrize(
    ("written", "says"), [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "not text")]
)
def test_a_secrets_file_that_gives_none_is_named_with_the_reason(
    written: bytes | None, says: str, tmp_path: Path
) -> None:
    place = tmp_path / "word"
    if written is not None:
        place.write_bytes(written)
    with pytest.raises(CouldNotFindOut, match=says) as told:
        resolve(f"file:{place}")
    assert str(place) in str(told.value)


def test_a_secret_comes_from_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    class Locked(Exception):
        pass

    def get_password(service: str, name: str) -> str | None:
        if service == "locked":
            raise Locked(SECRET)
        return {("shrimp", "a/b"): SECRET}.get((service, name))

    keyring: Any = ModuleType("keyring")
    keyring.get_password, keyring.errors = get_password, ModuleType("keyring.errors")
    keyring.errors.KeyringError = Locked
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    assert resolve("keyring:shrimp/a/b") == SECRET
    with pytest.raises(CouldNotFindOut, match="holds nothing under shrimp/other"):
        resolve("keyring:shrimp/other")
    with pytest.raises(CouldNotFindOut, match="did not give locked/x: Locked") as told:
        resolve("keyring:locked/x")
    assert SECRET not in str(told.value)


def test_without_keyring_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(CouldNotFindOut, match=r"lib\[keyring\]"):
        resolve("keyring:shrimp/api")


def test_all_secrets_of_a_target_are_known_for_scrubbing_and_missing_ones_left_out(
    profile: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[api]\nurl = "http://h"\ntoken = "env:S_API"\n[redis]\nurl = "redis://h"\npassword = "env:S_NONE"\n'
    text += '[postgres]\ndsn = "dbname=d"\npassword = "env:S_PG"\napplication_dsn = "dbname=d"\n'
    (tmp_path / "word").write_text("of the application")
    text += f'application_password = "file:{tmp_path}/word"\n'
    monkeypatch.delenv("S_NONE", raising=False)
    for name in ("S_API", "S_PG", "PGPASSWORD"):
        monkeypatch.setenv(name, f"of {name}")
    expected = ["of PGPASSWORD", "of S_API", "of S_PG", "of the application"]
    assert load_target(profile(text)).secret_values() == expected


# --- what is accepted, what does not apply

LAST_DAY = date(2031, 1, 31)
ACCEPTED = f"""
[[acknowledge]]
check = "redis.persistence"
reason = "OPS-1: the cache may be lost"
until = {LAST_DAY}
[[acknowledge]]
check = "host.disk"
object = "node /data space"
reason = "OPS-2"
until = {LAST_DAY}
[[not_applicable]]
check = "api.rate_limits"
reason = "the gateway limits requests"
"""


@pytest.mark.parametrize(("days", "accepted"), [(-400, True), (0, True), (1, False), (400, False)])
def test_an_acknowledgement_counts_on_its_last_day_and_no_longer_the_day_after(
    days: int, accepted: bool, profile: Write
) -> None:
    told = load_target(profile(ACCEPTED)).acknowledgement("redis.persistence", "RDB", LAST_DAY + timedelta(days))
    assert (told is not None) is accepted
    assert told is None or (told.reason, told.until) == ("OPS-1: the cache may be lost", LAST_DAY)


def test_an_acknowledgement_is_of_its_object_only_and_without_one_of_all(profile: Write) -> None:
    target = load_target(profile(ACCEPTED))
    assert target.acknowledgement("host.disk", "node /data space", LAST_DAY)
    assert not target.acknowledgement("host.disk", "node /data inodes", LAST_DAY)
    assert target.acknowledgement("redis.persistence", "whatever", LAST_DAY)
    assert not target.acknowledgement("redis.memory", "memory", LAST_DAY)


def test_an_expired_entry_does_not_hide_a_later_one_that_still_counts(profile: Write) -> None:
    entry = '[[acknowledge]]\ncheck = "a.b"\nobject = "{}"\nreason = "{}"\nuntil = {}\n'
    text = entry.format("*", "old", "2030-01-01") + entry.format("x", "new", LAST_DAY)
    told = load_target(profile(text)).acknowledgement("a.b", "x", LAST_DAY)
    assert told is not None and told.reason == "new"


def test_what_does_not_apply_is_told_with_its_reason(profile: Write) -> None:
    target = load_target(profile(ACCEPTED))
    assert target.reason_not_applicable("api.rate_limits") == "the gateway limits requests"
    assert target.reason_not_applicable("api.liveness") is None


# --- names of checks and thresholds


@pytest.mark.parametrize(
    "text",
    [
        '[thresholds."queue.siz"]\nwarning = 1\n',
        '[[acknowledge]]\ncheck = "queue.siz"\nreason = "x"\nuntil = 2031-01-31\n',
        '[[not_applicable]]\ncheck = "queue.siz"\nreason = "x"\n',
    ],
)
def test_a_check_that_does_not_exist_is_refused_wherever_it_is_named(text: str, profile: Write) -> None:
    with pytest.raises(UsageError, match=r"profile other: there is no check 'queue\.siz'; did you mean queue\.size\?"):
        check_names(load_target(profile(text)))


@pytest.mark.parametrize(
    ("check", "there"),
    [("queue.size", "warning, critical"), ("api.liveness", "none"), ("redis.reachable", "warning_ms")],
)
def test_a_threshold_that_does_not_exist_is_refused_with_those_that_do(check: str, there: str, profile: Write) -> None:
    with pytest.raises(UsageError, match=f"{check} has no threshold warnin; it has {there}"):
        check_names(load_target(profile(f'[thresholds."{check}"]\nwarnin = 1\n')))


def test_every_check_and_threshold_of_the_library_may_be_named(profile: Write) -> None:
    questions = list(all_questions())
    limits = "".join(
        f'[thresholds."{q.name}"]\n' + "".join(f"{name} = 1\n" for name in q.thresholds) for q in questions
    )
    skipped = "".join(f'[[not_applicable]]\ncheck = "{q.name}"\nreason = "x"\n' for q in questions)
    check_names(load_target(profile(limits + skipped)))
    assert len(questions) > 10


# --- the shipped example


def test_the_shipped_example_names_what_the_runbook_names(profile: Write) -> None:
    target = load_target(profile(EXAMPLE.read_text(), "production"))
    assert target.name == "production"
    assert target.api is not None and target.api.url == "http://localhost:8000"
    assert target.containers is not None
    assert target.containers.named == {"api": "shrimp-api", "postgres": "shrimp-postgres", "redis": "shrimp-redis"}
    assert target.postgres is not None and target.postgres.application_dsn is not None
    assert target.postgres.dsn == "postgresql://runbook@localhost:5432/shrimp_annotation"
    assert target.postgres.application_dsn == "postgresql://shrimp_user@localhost:5432/shrimp_annotation"
    assert target.contacts


def test_what_the_shipped_example_shows_in_comments_is_right_too(profile: Write) -> None:
    text = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", EXAMPLE.read_text())
    target = load_target(profile(text))
    check_names(target)
    assert target.thresholds and target.acknowledge and target.not_applicable
    assert target.api is not None and target.api.token and target.redis is not None and target.redis.password
