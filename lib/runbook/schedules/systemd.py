"""The schedule as timer and service units of systemd."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from runbook.schedules.planned import Place, Planned
from runbook.target import When


def units(planned: Planned, place: Place, *, jitter: int, seconds: int, user: str = "") -> dict[str, str]:
    """Return the texts of a notebook's two units, by the names of their files.

    They are for a user's own systemd, or with ``user`` for that of the machine, which runs them as that user.
    ``seconds`` is after how long a run is ended.
    """
    assert planned.when is not None
    name = _name(planned.target, planned.notebook)
    about = _plain(f"{planned.notebook} on {planned.target}: {planned.title}")
    environment = [f"Environment={_quoted(f'{key}={value}')}" for key, value in place.environment.items()]
    service = [
        "[Unit]",
        f"Description=runbook {about}",
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={user}"] if user else []),
        *environment,
        "# Secrets that the profile takes from the environment; the file may be missing.",
        f"EnvironmentFile=-%E/runbook/{planned.target}.env",
        f"ExecStart={_command(place.argv(planned))}",
        "# A WARNING is an answer; CRITICAL, UNKNOWN and a run that failed make the unit a failed one.",
        "SuccessExitStatus=1",
        f"TimeoutStartSec={seconds}",
    ]
    timer = [
        "[Unit]",
        f"Description=runbook {about} ({planned.told})",
        "",
        "[Timer]",
        f"OnCalendar={calendar(planned.when)}",
        f"RandomizedDelaySec={jitter}min",
        "FixedRandomDelay=true",
        "# What was due while the machine slept is made up for when it wakes.",
        "Persistent=true",
        f"Unit={name}.service",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return {f"{name}.service": "\n".join(service) + "\n", f"{name}.timer": "\n".join(timer) + "\n"}


def former(folder: Path, targets: Iterable[str], notebooks: Iterable[str], files: Mapping[str, str]) -> list[Path]:
    """Return the timers in a folder that were written once for these notebooks and are not among the files any more."""
    names = [f"{_name(target, notebook)}.timer" for target in targets for notebook in notebooks]
    return [folder / name for name in names if name not in files and (folder / name).exists()]


def _name(target: str, notebook: str) -> str:
    return f"runbook-{target}-{notebook}"


def calendar(when: When) -> str:
    """Return a moment that comes back as systemd writes it."""
    clock = f"{when.hour:02}:{when.minute:02}:00"
    if when.period == "weekly":
        return f"{('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')[when.weekday]} *-*-* {clock}"
    return f"*-*-{when.day:02} {clock}" if when.period == "monthly" else f"*-*-* {clock}"


def _command(argv: list[str]) -> str:
    """Return a command as systemd reads it: in all words but the program, $ would be a variable; and in the program it
    takes neither quotes nor a backslash.
    """
    if set(argv[0]) & set("'\"\\"):
        argv = ["/usr/bin/env", *argv]
    program, *rest = map(_quoted, argv)
    return " ".join([program, *(word.replace("$", "$$") for word in rest)])


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_plain(escaped)}"'
