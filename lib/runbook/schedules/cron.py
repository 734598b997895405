"""The schedule as lines of a crontab."""

import shlex
from collections.abc import Iterable, Iterator, Mapping

from runbook.model import UsageError
from runbook.schedules.planned import Place, Planned
from runbook.target import When

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of a longer line cron reads the beginning, and says nothing.
_MOST = 998
# What flock ends with where the last run is still at work: no verdict, and no status of a run that failed.
_BUSY = "75"


def times(planned: Planned, jitter: int) -> str:
    """Return the five fields of a crontab for a notebook."""
    assert planned.when is not None
    return fields(planned.when, *planned.minutes(jitter))


def fields(when: When, hour: int, minute: int) -> str:
    """Return the five fields of a moment that comes back, at this time of its day."""
    weekday = str((when.weekday + 1) % 7) if when.period == "weekly" else "*"
    day = str(when.day) if when.period == "monthly" else "*"
    return f"{minute} {hour} {day} * {weekday}"


def crontab(planned: Iterable[Planned], places: Mapping[str, Place], jitter: int, flock: str) -> str:
    """Return the lines for a user's crontab; what is off is told in a comment.

    ``places`` holds the place of each target. Raises `UsageError` where a path cannot be written into a crontab, or is
    so long that cron would cut it off.
    """
    lines = [
        "# Made by `runbook schedule cron`; times are this machine's. What is due while it sleeps is left out.",
        "# For the end of a crontab: the settings hold for all lines below. What a run prints, cron mails: see MAILTO.",
        "SHELL=/bin/sh",
        f"PATH={_PATH}",
        *_settings(places),
    ]
    for one in planned:
        lines.append(f"# {one.notebook} on {one.target}: {one.told}")
        if one.when is not None:
            lines.append(f"{times(one, jitter)} {_command(one, places[one.target], flock)}")
    return "\n".join(lines) + "\n"


def _settings(places: Mapping[str, Place]) -> Iterator[str]:
    settings = {name: value for place in places.values() for name, value in place.environment.items()}
    for name, value in settings.items():
        yield _whole(f"{name}={_quoted(name, value)}", name)
    missing = sorted({name for place in places.values() for name in place.secrets})
    if missing:
        yield "# Profiles take secrets from these variables, which cron does not know; have them say file:/PATH,"
        yield f"# or set them here, where only this user may read them: {', '.join(missing)}"


def _quoted(name: str, value: str) -> str:
    for quote in ('"', "'"):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UsageError(f"{name} holds both kinds of quotes, which no crontab can hold; give it another value")


def _command(planned: Planned, place: Place, flock: str) -> str:
    lock = str(place.locks / f"{planned.target}.{planned.notebook}.lock")
    words = [flock, "-n", "-E", _BUSY, lock, *place.argv(planned)]
    command = f"mkdir -p -m 700 {shlex.quote(str(place.locks))} && {shlex.join(words)}"
    # Cron makes a new line of a bare one.
    return _whole(command.replace("%", r"\%"), f"the command for {planned.notebook} on {planned.target}")


def _whole(text: str, what: str) -> str:
    if len(text.encode()) > _MOST:
        raise UsageError(f"{what} is {len(text.encode())} bytes long, and cron reads {_MOST}; use shorter folders")
    return text
