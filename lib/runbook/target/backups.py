"""What a profile says of backups: which there are, how often, how long they are kept, what reads them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat
from pydantic_core import PydanticCustomError

from runbook.target.addresses import Dsn, Folder
from runbook.target.secret import SecretReference

Kind = Literal["database", "roles", "base", "wal", "redis", "data"]


class _Strict(BaseModel):
    # hide_input: as for the rest of a profile, an error must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _require_pattern(value: str) -> str:
    if not value.startswith(("/", "s3://")) or ".." in value.split("/") or not value.isprintable() or "@" in value:
        raise PydanticCustomError("bad_pattern", "this is to be a pattern of absolute paths, or s3://BUCKET/PATTERN")
    return value


class BackupSet(_Strict):
    """One thing that is backed up again and again, a file or folder for each time.

    ``kind``: database (pg_dump of any format, also .gz; a plain one without --create), roles (pg_dumpall
    --globals-only), base (folders of pg_basebackup), wal (the folder of the WAL archive), redis (RDB files), data (tar
    files of the service's folder).
    ``files`` is a pattern, with * and ?. One is made each ``every_hours``, and kept for ``keep_days``.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    kind: Kind
    files: Annotated[str, AfterValidator(_require_pattern), Field(max_length=500)]
    every_hours: PositiveFloat = 24.0
    keep_days: PositiveFloat = 30.0


class Backups(_Strict):
    """The target's backups. ``binaries`` is the folder with pg_restore, psql, initdb and postgres of the server's
    version, or a newer one; ``scratch`` a folder for what a drill makes, the system's for temporary files without one.
    ``drill_seconds`` bounds a drill. ``restore_dsn`` is the target's own cluster with the role that restores into it,
    at a database that is always there; it is used for nothing else.
    """

    sets: Annotated[tuple[BackupSet, ...], Field(min_length=1)]
    binaries: Folder | None = None
    scratch: Folder | None = None
    drill_seconds: PositiveFloat = 240.0
    restore_dsn: Dsn | None = None
    restore_password: SecretReference | None = None
