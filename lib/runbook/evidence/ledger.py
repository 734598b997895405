"""The findings of all sealed runs in one Parquet file: read from the runs once, asked with DuckDB from then on.

It is derived, and lies in this user's state folder: it can be deleted, and is made anew from the archive. A run that is
sealed here is noted then; any other is taken into it when its seal holds, files and signature, which costs about a
millisecond a run, and once. It is read anew when its record or its seal was touched since (size, or the time of the
last change, which nobody can set back).
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from runbook.evidence.archive import (
    ARCHIVE_FILE,
    NotTrusted,
    RunPlace,
    UnknownKey,
    read_archive_id,
    runs,
    state_folder,
    write_whole,
)  # fmt: skip
from runbook.evidence.only_one import only_one
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.statement import digest
from runbook.evidence.verify import sealed_content
from runbook.model.layout import ENTRY_NAME, RECORD_FILE, is_baseline_id, make_private
from runbook.model.protocol import NO_VERSION, RunRecord

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FOLDER = "ledger"
# What a row tells; a run without a finding has one row, without a check. The version is what the service told of
# itself, null where it was not asked or told none.
COLUMNS = {
    "run_id": "string", "stamp": "string", "began": "int64", "target": "string", "notebook": "string",
    "run_status": "string", "check": "string", "object": "string", "status": "string", "value": "float64",
    "unit": "string", "acknowledged": "bool_", "service_version": "string",
}  # fmt: skip
_NOTED, _NOTHING = ".noted", [{"stamp": None}]
# Of more than this nothing is kept for a report that nobody asks for: then each run is verified.
_MOST_NOTED = 64 << 20
NOT_SEALED, BROKEN, UNKNOWN_KEY, NOT_REACHED = "not sealed", "broken", "unknown key", "not reached"


@dataclass(frozen=True)
class Ledger:
    """What the sealed runs of a time found: ``path`` is a Parquet file with a row for each finding.

    ``runs`` are those that count. ``left_out`` holds for each other run why it does not: not sealed (cut short, or at
    work now), broken, unknown key, or not reached (there was no time left to verify it).
    """

    path: Path | None
    runs: list[str]
    left_out: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def ask(self, sql: str, values: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """Return what DuckDB answers a query on the table ``found``: the rows of the runs that count.

        DuckDB reads that file and nothing else: no other one, nothing from the network, no extension.
        """
        import duckdb
        import pandas as pd

        if self.path is None:
            return pd.DataFrame()
        with duckdb.connect(
            config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        ) as asked:
            asked.execute("CREATE TABLE counted AS SELECT unnest($runs) AS run_id", {"runs": self.runs})
            rows = asked.read_parquet(str(self.path))
            rows.create_view("kept")
            asked.execute("CREATE VIEW found AS SELECT * FROM kept SEMI JOIN counted USING (run_id)")
            return asked.execute(sql, dict(values or {})).df()


def ledger(archive: Path, keys: Mapping[str, Any], since: datetime, seconds: float = 45.0) -> Ledger:
    """Return the ledger of an archive's runs since a time, with those that are new or were touched verified and read.

    ``keys`` are the public keys to trust. ``seconds`` bounds that work; the newest are read first, and what was not
    reached then is left out this time. Raises `NotTrusted` for what is no run and lies among them, OSError where the
    archive or the ledger cannot be read or written.
    """
    until = time.monotonic() + seconds
    first = f"{since.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    places = [place for place in _runs_since(archive, since) if place.run_id[4:20] >= first and _is_run(place.run_id)]
    if not places:
        return Ledger(None, [])
    folder = state_folder() / FOLDER
    make_private(folder)
    own = read_archive_id(archive / ARCHIVE_FILE)
    path = folder / f"{own}.parquet"
    with only_one(folder / ".lock", must=False):  # two reports at once read the same new runs only once
        schema = _schema(keys)
        known, noted = _known(path, schema), _noted(folder / f"{own}{_NOTED}")
        left_out: dict[str, str] = {}
        why: dict[str, str] = {}
        new: list[dict[str, Any]] = []
        counted: list[str] = []
        for place in reversed(places):
            stamp = _stamp(place.folder)
            if stamp is None:
                left_out[place.run_id] = NOT_SEALED
            elif known.get(place.run_id) == stamp:
                counted.append(place.run_id)
            elif noted.get(place.run_id, _NOTHING)[0]["stamp"] == stamp:
                new += noted[place.run_id]
                counted.append(place.run_id)
            elif time.monotonic() > until:
                left_out[place.run_id] = NOT_REACHED
            else:
                try:
                    new += _rows(place, archive, keys, stamp)
                    counted.append(place.run_id)
                except UnknownKey as wrong:
                    left_out[place.run_id], why[place.run_id] = UNKNOWN_KEY, str(wrong)
                except NotTrusted as wrong:
                    left_out[place.run_id], why[place.run_id] = BROKEN, str(wrong)
        if new:
            _write(path, new, schema, set(known) - {row["run_id"] for row in new})
    return Ledger(path if counted else None, counted, left_out, why)


def _is_run(run_id: str) -> bool:
    return run_id[21:-7] != ENTRY_NAME and not is_baseline_id(run_id)


def _runs_since(archive: Path, since: datetime) -> Iterator[RunPlace]:
    return (place for place in runs(archive) if place.run_id[4:10] >= f"{since - timedelta(days=1):%Y%m}")


def _stamp(folder: Path) -> str | None:
    """Return by what a change of a run's record or seal is noticed; None where it has no seal."""
    told = []
    for name in (SEAL_FILE, RECORD_FILE):
        try:
            status = os.lstat(f"{folder}/{name}")
        except OSError:
            if name == SEAL_FILE:
                return None
            told.append("gone")
            continue
        told.append(f"{status.st_ino}-{status.st_size}-{status.st_ctime_ns}")
    return " ".join(told)


def _rows(place: RunPlace, archive: Path, keys: Mapping[str, Any], stamp: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run whose seal holds; raises `NotTrusted` where it does not."""
    told = sealed_content(place, archive, keys, [RECORD_FILE])
    if told is None:
        raise NotTrusted(f"{place.run_id} has no seal")
    facts, files = told
    try:
        record = msgspec.json.decode(files[RECORD_FILE], type=RunRecord)
    except msgspec.MsgspecError as error:
        raise NotTrusted(f"{place.run_id} was sealed with a record of another shape: {error}") from error
    yield from _told(place.run_id, stamp, facts.target, facts.identity, record)


def _told(
    run_id: str, stamp: str, target: str, identity: Mapping[str, Mapping[str, str]], record: RunRecord
) -> Iterator[dict[str, Any]]:
    at = datetime.strptime(run_id[4:20], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    of_run = {
        "run_id": run_id, "stamp": stamp, "began": int(at.timestamp()), "target": target,
        "notebook": record.notebook, "run_status": record.status, "check": None, "object": None, "status": None,
        "value": None, "unit": None, "acknowledged": False, "service_version": _version(identity),
    }  # fmt: skip
    if not record.findings:
        yield of_run
    for one in record.findings:
        number = isinstance(one.value, int | float) and not isinstance(one.value, bool)
        yield {
            **of_run, "check": one.check, "object": one.object, "status": str(one.status),
            "value": float(one.value) if number and one.value is not None else None, "unit": one.unit,
            "acknowledged": one.acknowledged is not None,
        }  # fmt: skip


def _version(identity: Mapping[str, Mapping[str, str]]) -> str | None:
    told = identity.get("api", {}).get("version")
    return told if told != NO_VERSION else None


def note(own: str, folder: Path, record: Mapping[str, Any], identity: Mapping[str, Mapping[str, str]]) -> None:
    """Note what a run found that was sealed here just now, by what was sealed; never fails that run."""
    run_id = str(record["run_id"])
    stamp = _stamp(folder)
    if stamp is None or not _is_run(run_id):
        return
    with suppress(OSError, msgspec.MsgspecError):
        kept = state_folder() / FOLDER
        make_private(kept)
        rows = list(_told(run_id, stamp, str(record["target"]), identity, msgspec.convert(dict(record), RunRecord)))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(kept / f"{own}{_NOTED}", flags, 0o600)
        try:
            if os.fstat(descriptor).st_size > _MOST_NOTED:
                os.ftruncate(descriptor, 0)
            os.write(descriptor, msgspec.json.encode(rows) + b"\n")
        finally:
            os.close(descriptor)


def _noted(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Take what was noted since the last report: the rows of each run; a line that was cut short is passed over."""
    taken = path.with_name(f"{path.name}.taken")
    try:
        path.rename(taken)
        lines = taken.read_bytes().splitlines()
        taken.unlink()
    except OSError:
        return {}
    found = {}
    for line in lines:
        with suppress(msgspec.MsgspecError, KeyError, TypeError, IndexError):
            rows = msgspec.json.decode(line, type=list[dict[str, Any]])
            if all(row.keys() == COLUMNS.keys() for row in rows):
                found[str(rows[0]["run_id"])] = rows
    return found


def _known(path: Path, schema: "pa.Schema") -> dict[str, str]:
    """Return the stamp of each run that the file has; nothing where it is not there, damaged, of another version, or
    made when other keys were trusted.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not pq.read_schema(path).equals(schema, check_metadata=True):
            return {}
        told = pq.read_table(path, columns=["run_id", "stamp"])
    except (OSError, pa.ArrowException):
        return {}
    distinct = told.group_by(["run_id", "stamp"]).aggregate([])
    return dict(zip(distinct["run_id"].to_pylist(), distinct["stamp"].to_pylist(), strict=True))


def _schema(keys: Mapping[str, Any]) -> "pa.Schema":
    import pyarrow as pa

    fields = [pa.field(name, getattr(pa, kind)()) for name, kind in COLUMNS.items()]
    return pa.schema(fields, metadata={"trusted": digest(" ".join(sorted(keys)).encode())})


def _write(path: Path, rows: list[dict[str, Any]], schema: "pa.Schema", kept: set[str]) -> None:
    """Write the rows of runs that were read, and those of the runs that are ``kept``."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows, schema=schema)
    if kept:
        before = pq.read_table(path)
        stays = pc.is_in(before["run_id"], value_set=pa.array(sorted(kept), pa.string()))
        table = pa.concat_tables([before.filter(stays).cast(schema), table])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())
