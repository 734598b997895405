"""The profile of a target: what may stand in it, checked to the last key."""

import math
import os
import re
from contextlib import suppress
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from runbook.model import Acknowledgement, CouldNotFindOut
from runbook.target.addresses import Dsn, Folder, HttpUrl, RedisUrl
from runbook.target.backups import Backups
from runbook.target.certificates import Certificates
from runbook.target.kubernetes import Kubernetes
from runbook.target.notifications import Notifications, Webhook
from runbook.target.recovery import Recovery
from runbook.target.schedule import Schedule
from runbook.target.secret import SecretReference, resolve
from runbook.target.serve import Serve


def _refuse_nan(value: float) -> float:
    if math.isnan(value):
        raise PydanticCustomError("nan", "a threshold that is no number would never be passed; `inf` says never")
    return value


Threshold = Annotated[float, AfterValidator(_refuse_nan)]


class _Strict(BaseModel):
    # hide_input: an error about a profile must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Api(_Strict):
    """The service's HTTP interface. ``user_request`` is a path that stands for what users do: read, cheap, real;
    ``plain_url`` where the same is asked without TLS, if not at port 80 of the same host.

    Its users are looked at and changed with ``admin_token``, or with one that a log-in of ``admin_username`` gives.
    """

    url: HttpUrl
    plain_url: HttpUrl | None = None
    user_request: str = Field("/documents?limit=1", pattern=r"^/")
    token: SecretReference | None = None
    ca_file: Path | None = None
    admin_username: Annotated[str, Field(min_length=1, max_length=200)] = "admin"
    admin_password: SecretReference | None = None
    admin_token: SecretReference | None = None


class Postgres(_Strict):
    """The database: ``dsn`` with the runbook's own read-only role; ``application_dsn`` as the service connects;
    ``operator_dsn`` with the role that carries plans out, which is used for nothing else. ``standbys`` are the names
    (application_name) of the standbys that must be connected.
    """

    dsn: Dsn
    password: SecretReference | None = None
    application_dsn: Dsn | None = None
    application_password: SecretReference | None = None
    operator_dsn: Dsn | None = None
    operator_password: SecretReference | None = None
    standbys: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class Standby(_Strict):
    """A standby of the database on the machine that runs the notebooks, which a plan makes and removes.

    ``data`` is its folder, ``binaries`` the one with pg_basebackup, pg_ctl and postgres of the primary's version.
    ``primary_dsn`` is how it reaches the primary: directly, by a role with REPLICATION. ``read_dsn`` is how the runbook
    reads from it; without one, as from the primary, at 127.0.0.1 and ``port``. ``name`` is what the primary knows it
    by, and ``slot`` keeps WAL for it. ``copy_seconds`` bounds the copying.
    """

    data: Folder
    binaries: Folder
    port: Annotated[int, Field(ge=1, le=65535)]
    primary_dsn: Dsn
    primary_password: SecretReference | None = None
    read_dsn: Dsn | None = None
    read_password: SecretReference | None = None
    name: str = Field("runbook_standby", pattern=r"^[A-Za-z0-9_-]{1,63}$")
    slot: str = Field("runbook_standby", pattern=r"^[a-z0-9_]{1,63}$")
    listen: str = Field("127.0.0.1", pattern=r"^[A-Za-z0-9.:*_-]+$")
    copy_seconds: PositiveFloat = 3600.0


class Service(_Strict):
    """How the service is set up, as far as it cannot be asked: its processes in each container and their pools of
    connections, how many containers there are; ``checkout`` is a folder with its code, where the rest is read.
    """

    workers: PositiveInt | None = None
    pool_size: PositiveInt | None = None
    max_overflow: Annotated[int, Field(ge=0)] | None = None
    replicas: PositiveInt | None = None
    checkout: Path | None = None


class Redis(_Strict):
    """The service's Redis."""

    url: RedisUrl
    password: SecretReference | None = None


class Share(_Strict):
    """A part of a machine: what lies in a folder, and the processes whose working folder lies in it."""

    folder: Path
    disk_bytes: PositiveInt
    files: PositiveInt
    memory_bytes: PositiveInt
    cpus: PositiveFloat


def _require_socket(value: str) -> str:
    address, _, port = value.rpartition(":")
    try:
        if address not in ("", "*", "localhost"):
            ip_address(address.strip("[]"))
        known = 0 < int(port) < 65536
    except ValueError:
        known = False
    if not known:
        raise PydanticCustomError("bad_socket", "write a socket as ADDRESS:PORT, *:PORT for all addresses, or PORT")
    return value


Listening = Annotated[str, AfterValidator(_require_socket)]


# Nothing that ssh would take for an option, or a shell for anything but a name.
_DESTINATION = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)"
)


def _require_plain_path(value: Path) -> Path:
    if not value.is_absolute() or re.search(r"[\x00-\x1f\x7f]", str(value)):
        raise PydanticCustomError("bad_path", "a path begins with / and holds no control characters")
    return value


PlainPath = Annotated[Path, AfterValidator(_require_plain_path)]


def _require_destination(value: str) -> str:
    if not _DESTINATION.fullmatch(value):
        raise PydanticCustomError("bad_destination", "write where to as HOST or USER@HOST")
    return value


class Ssh(_Strict):
    """How a host is reached by this machine's own ``ssh``: never with a password, and only where its key is known.

    ``at`` is HOST or USER@HOST, also a Host of the user's ssh_config, which holds (ProxyJump and the like) unless
    ``config_file`` names another; ``known_hosts`` is the one file of keys that counts, else the user's
    and the system's.
    """

    at: Annotated[str, AfterValidator(_require_destination)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity_file: Folder | None = None
    known_hosts: Folder | None = None
    config_file: Folder | None = None


class Host(_Strict):
    """Whose disk, memory and load is judged.

    ``where``: "here" says that the target lives on the machine that runs the notebooks; "ssh" that it lives where
    ``ssh`` leads; "prometheus" that the node_exporters of its job are asked, those of ``instances`` or all;
    "containers" that each of the containers is looked at from inside. ``paths`` name the file systems to judge.
    ``share`` judges a part of this machine instead of all of it. ``listening`` are the sockets that are to listen there
    (TCP), as ADDRESS:PORT, ``*:PORT`` for all addresses, or a port alone for any.
    """

    where: Literal["here", "ssh", "prometheus", "containers", "elsewhere"] = "elsewhere"
    name: str | None = None
    paths: Annotated[tuple[PlainPath, ...], Field(min_length=1)] = (Path("/"),)
    share: Share | None = None
    listening: tuple[Listening, ...] | None = None
    ssh: Ssh | None = None
    instances: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/\[\]-]{1,200}$")], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.where == "ssh" and self.ssh is None:
            raise PydanticCustomError("no_ssh", 'where = "ssh" needs [host.ssh] with `at`, where to')
        if self.share is not None and self.where not in ("here", "elsewhere"):
            raise PydanticCustomError("share_elsewhere", 'a share is a part of this machine: where is to be "here"')
        return self


class Containers(_Strict):
    """The names of the service's containers on this machine's Docker engine."""

    api: str | None = None
    postgres: str | None = None
    redis: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """Return the containers that have a name, by part."""
        return {part: name for part, name in self.model_dump().items() if name}


class Compose(_Strict):
    """The Compose project that the service's containers belong to: its files, its name, the API's service in it.

    Without a ``project`` it is named after the folder of the first file, as Compose does itself.
    """

    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    project: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    service: str = Field("api", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    port: PositiveInt = 8000

    @property
    def name(self) -> str:
        """Return the project's name."""
        return self.project or re.sub(r"[^a-z0-9_-]", "", self.files[0].absolute().parent.name.lower())


class _Asked(_Strict):
    """What is asked over HTTP by basic authentication, with a bearer token, or by neither."""

    url: HttpUrl
    username: str | None = None
    password: SecretReference | None = None
    token: SecretReference | None = None
    ca_file: Path | None = None

    @property
    def user(self) -> tuple[str, str] | None:
        """Return the name to log in with and the reference to its password."""
        return (self.username, self.password) if self.username and self.password else None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.token is not None and (self.username is not None or self.password is not None):
            raise PydanticCustomError("two_ways_in", "give a token, or username and password, not both")
        if (self.username is None) != (self.password is None):
            raise PydanticCustomError("half_way_in", "username and password go together")
        return self


class Alertmanager(_Asked):
    """Where alerts go to. While a change runs those with the labels of ``matchers`` are silenced, for so many minutes;
    without matchers none is.
    """

    matchers: dict[str, str] = {}
    minutes: Annotated[int, Field(ge=1, le=120)] = 10


JobName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,120}$")]


class Jobs(_Strict):
    """The names of the jobs under which Prometheus scrapes the service, PostgreSQL's exporter and the hosts."""

    api: JobName = "shrimp-api"
    postgres: JobName = "postgres"
    node: JobName = "node"


class Prometheus(_Asked):
    """The Prometheus that scrapes the target.

    ``backups`` says that the job that makes backups tells Prometheus of them: then one that does not is an alert.
    """

    jobs: Jobs = Jobs()
    backups: bool = False


class LanguageModel(_Strict):
    """The back end that finds candidates: where it is, and the key that the service itself uses.

    ``url`` is its root, without /v1; ``model`` the one that the service asks for. ``kind`` "openai" is what OpenAI and
    those that speak its language answer, "ollama" a server of one's own, which takes no key. ``timeout`` bounds the
    answer in seconds.
    """

    url: HttpUrl
    kind: Literal["openai", "ollama"] = "openai"
    token: SecretReference | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    timeout: Annotated[float, Field(gt=0, le=20)] = 10.0
    ca_file: Path | None = None


def _require_place_of_logs(value: str) -> str:
    if value.startswith("/"):
        return value
    if value == "container:":
        raise PydanticCustomError("bad_log", "container: names no container")
    if not re.fullmatch(r"container:[^:/][^:]*|(?:container:[^:/][^:]*|ssh):/[^\x00-\x1f\x7f]*", value):
        raise PydanticCustomError(
            "bad_log",
            "a log is an absolute path, which may have * and ?, ssh:PATH for one where [host.ssh] leads, "
            "container:NAME for a container's output, or container:NAME:PATH for files in it",
        )
    return value


def _require_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError) as error:
        raise PydanticCustomError(
            "bad_zone", "there is no such time zone; write one like UTC or Europe/Vienna"
        ) from error
    return value


LogPlace = Annotated[str, AfterValidator(_require_place_of_logs)]


class Logs(_Strict):
    """Where the logs are: paths with * and ?, rotated and compressed files included; ``ssh:PATH`` where [host.ssh]
    leads; ``container:NAME`` for a container's output, ``container:NAME:PATH`` for files in it.

    ``timezone`` is that of lines that record none (the service's text format, Redis). ``records_429`` says that the
    service logs the requests that it refuses for their number; as built it does not, and then none means nothing.
    """

    api: tuple[LogPlace, ...] = ()
    postgres: tuple[LogPlace, ...] = ()
    redis: tuple[LogPlace, ...] = ()
    timezone: Annotated[str, AfterValidator(_require_zone)] = "UTC"
    records_429: bool = False


class Communication(_Strict):
    """What messages about incidents say of this target: the component, and where its status and evidence are seen.

    ``evidence_url`` is where the archive is served: under it are its folders ``runs`` and ``incidents``.
    """

    component: Annotated[str, Field(min_length=1, max_length=200)] = "Shrimp Annotation API"
    status_page: HttpUrl | None = None
    evidence_url: HttpUrl | None = None


class Load(_Strict):
    """How the target may be put under load: by a confirmed plan, up to ``most_rate`` requests a second of ``path``
    (without one, api.user_request).

    ``without_plan`` is for a practice stack, which takes nothing away from anybody: only at a loopback address.
    """

    path: Annotated[str, Field(pattern=r"^/[!-~]{0,500}$")] | None = None
    most_rate: Annotated[float, Field(gt=0, le=500)] = 100.0
    without_plan: bool = False


class Advisories(_Strict):
    """Known vulnerabilities, and the packages to hold against them: nothing of it is fetched or run.

    ``files`` hold advisories in OSV's format: JSON, folders of it, or the zip that osv.dev exports. ``environments``
    are folders with site-packages; ``requirements`` files that pin packages (pip's, or npm's package-lock.json).
    """

    files: tuple[Folder, ...] = ()
    environments: tuple[Folder, ...] = ()
    requirements: tuple[Folder, ...] = ()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secret_parts(url: str) -> list[str]:
    """Return what of a webhook's address is secret, whole and in the pieces that may be told alone; not its host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    if not parts.netloc:
        return [url]
    pieces = re.split(r"[/?&=]", url.partition(parts.netloc)[2])
    telling = [piece for piece in pieces if len(piece) >= 16 or (len(piece) >= 6 and re.search(r"\d", piece))]
    if not telling:
        telling = [url.partition(parts.netloc)[2]]
    whole = url[url.index(telling[0]) :] if telling[0] else ""
    return [whole, *telling, parts.password or ""]


Pattern = Annotated[str, Field(min_length=1, max_length=200)]
_UNITS = (
    "/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly",
    "/var/spool/cron", "/etc/systemd/system", "/usr/local/lib/systemd/system", "/etc/rc.local", "/etc/init.d",
)  # fmt: skip


class Tree(_Strict):
    """A folder that was deployed; ``exclude`` leaves out what changes by itself: names, or paths from its top.

    ``checkout`` is a git repository, ``commit`` the commit or tag of it that should lie there, ``subfolder`` the part
    of the repository that was deployed.
    """

    path: Folder
    exclude: tuple[Pattern, ...] = ("__pycache__", ".git", "/logs", "/data")
    checkout: Folder | None = None
    commit: str = Field("HEAD", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}$")
    subfolder: str = Field("", pattern=r"^[A-Za-z0-9._/+-]{0,200}$")


class Integrity(_Strict):
    """Which files are to be as they were: deployed trees, and the files and folders where jobs and units are put.

    ``written`` names paths of containers, with * and ?, that they write to, beside those that each one may.
    """

    trees: tuple[Tree, ...] = ()
    units: tuple[Folder, ...] = tuple(map(Path, _UNITS))
    written: tuple[Pattern, ...] = ()


class Deadlines(_Strict):
    """Bounds in seconds: for opening a connection, for one question (None: the question's own), for a whole run."""

    connect: PositiveFloat = 3.0
    question: PositiveFloat | None = None
    run: PositiveFloat = 300.0


class Acknowledged(_Strict):
    """A finding that is accepted until the end of a day; ``object`` "*" is every object of the check."""

    check: str
    object: str = "*"
    reason: str = Field(min_length=1)
    until: date


class NotApplicable(_Strict):
    """A check that does not apply to this target: SKIPPED, with the reason."""

    check: str
    reason: str = Field(min_length=1)


class Redaction(_Strict):
    """What is to stay readable although it has a secret's form, such as a known test value: whole values, as written.

    It never holds for what the profile itself refers to as a secret.
    """

    allow: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class Contact(_Strict):
    """Who to call when the notebook does not help."""

    name: str
    how: str
    when: str = ""


class Target(_Strict):
    """A deployment: where its parts are, its limits, what is accepted, who to call.

    One that is ``read_only`` takes no change: no plan is made for it, and none is carried out. ``schedule`` says when
    notebooks run by themselves, by their names, where that is another time than their own.
    """

    name: str
    description: str = ""
    api: Api | None = None
    postgres: Postgres | None = None
    standby: Standby | None = None
    redis: Redis | None = None
    service: Service | None = None
    read_only: bool = False
    host: Host = Host()
    containers: Containers | None = None
    compose: Compose | None = None
    kubernetes: Kubernetes | None = None
    alertmanager: Alertmanager | None = None
    prometheus: Prometheus | None = None
    llm: LanguageModel | None = None
    communication: Communication = Communication()
    webhook: Webhook | None = None
    notifications: Notifications | None = None
    serve: Serve = Serve()
    load: Load = Load()
    certificates: Certificates | None = None
    logs: Logs | None = None
    advisories: Advisories | None = None
    integrity: Integrity | None = None
    backups: Backups | None = None
    recovery: Recovery | None = None
    schedule: dict[str, Schedule] = {}
    deadlines: Deadlines = Deadlines()
    thresholds: dict[str, dict[str, Threshold]] = {}
    acknowledge: tuple[Acknowledged, ...] = ()
    not_applicable: tuple[NotApplicable, ...] = ()
    contacts: tuple[Contact, ...] = ()
    redaction: Redaction = Redaction()

    @model_validator(mode="after")
    def _only_practice_without_plan(self) -> Self:
        if self.load.without_plan and not (self.api and _is_loopback(urlsplit(self.api.url).hostname or "")):
            raise PydanticCustomError(
                "load_without_plan",
                "load.without_plan is for a practice stack: [api] url is to be a loopback address, such as 127.0.0.1",
            )
        return self

    def acknowledgement(self, check: str, obj: str, today: date) -> Acknowledgement | None:
        """Return why a finding is accepted today, or None; an entry whose day has passed no longer counts."""
        for entry in self.acknowledge:
            if entry.check == check and entry.object in ("*", obj) and today <= entry.until:
                return Acknowledgement(reason=entry.reason, until=entry.until)
        return None

    def reason_not_applicable(self, check: str) -> str | None:
        """Return why a check does not apply to this target, or None where it does."""
        return next((entry.reason for entry in self.not_applicable if entry.check == check), None)

    def secret_values(self) -> list[str]:
        """Return the secrets that the references name on this machine, for scrubbing; those missing are left out."""
        references: list[Any] = []
        watching = (self.prometheus, self.alertmanager, self.llm, self.serve)
        for part in (self.api, self.postgres, self.standby, self.backups, self.redis, *watching):
            fields = type(part).model_fields if part else {}
            references += [getattr(part, name) for name in fields if name.endswith(("password", "token"))]
        values = [os.environ.get("PGPASSWORD", "")]  # libpq takes it by itself
        for reference in filter(None, references):
            try:
                values.append(resolve(reference))
            except CouldNotFindOut:
                continue
        for address in (self.webhook and self.webhook.url, self.notifications and self.notifications.webhook):
            if address:
                with suppress(CouldNotFindOut):
                    values += _secret_parts(resolve(address))
        return sorted({value for value in values if value})
