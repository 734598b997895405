"""Groups of targets: in ``groups.toml`` beside the profiles, a line each, such as ``eu = ["berlin", "paris"]``."""

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.model import UsageError
from runbook.target.find import GROUPS_FILE, is_target_name, profile_folders

SIGN = "@"


@dataclass(frozen=True)
class Named:
    """A target that is to be looked at, and how it was named: by itself, or by groups (``@eu``)."""

    target: str
    by: tuple[str, ...]

    @property
    def directly(self) -> bool:
        """Tell whether somebody gave its own name."""
        return self.target in self.by

    @property
    def told(self) -> str:
        """Return in words how often it was named; "" where that was once."""
        return f"{self.target} is named more than once ({', '.join(self.by)}): it is run once" if self.by[1:] else ""


def expand(names: Sequence[str]) -> list[Named]:
    """Return the targets that are meant by names and by ``@groups``, each once, in the order of their first naming.

    Raises `UsageError` for a group that does not exist, names no target, or holds itself.
    """
    groups = read_groups() if any(name.startswith(SIGN) for name in names) else {}
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        for target in _members(name, groups, ()) if name.startswith(SIGN) else [name]:
            found[target] = (*found.get(target, ()), name)
    return [Named(target, by) for target, by in found.items()]


def read_groups() -> dict[str, list[str]]:
    """Return every group by its name; of one that several folders name, the first folder's counts.

    Raises `UsageError` for a file that cannot be read or holds anything else.
    """
    found: dict[str, list[str]] = {}
    for folder in reversed(profile_folders()):
        path = folder / GROUPS_FILE
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"the groups in {path} cannot be read: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at (.*?)\)$", str(error))
            raise UsageError(f"{path} is not TOML: {place[1] if place else 'syntax error'}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not UTF-8 text") from None
        found |= {name: _checked(name, members, path) for name, members in told.items()}
    return found


def _checked(name: str, members: Any, path: Path) -> list[str]:
    if not is_target_name(name):
        raise UsageError(f"{path}: {name!r} is no name of a group: letters, digits, - and _, a letter first")
    if not isinstance(members, list) or not all(isinstance(each, str) for each in members):
        raise UsageError(f'{path}: {name} is to be a list of targets and groups, such as ["berlin", "@eu"]')
    for each in members:
        if not is_target_name(each.removeprefix(SIGN)):
            raise UsageError(f"{path}: {name}: {each!r} is neither the name of a target nor of a group")
    return members


def _members(name: str, groups: dict[str, list[str]], within: tuple[str, ...]) -> list[str]:
    """Return the targets of a group and of the groups in it, each once."""
    bare = name.removeprefix(SIGN)
    if name in within:
        raise UsageError(f"the group {name} holds itself: {' → '.join([*within, name])}")
    if bare not in groups:
        near = difflib.get_close_matches(bare, groups, n=1)
        hint = f"; did you mean {SIGN}{near[0]}?" if near else ""
        known = f"known groups: {', '.join(f'{SIGN}{each}' for each in sorted(groups))}" if groups else "there is none"
        searched = ", ".join(str(folder / GROUPS_FILE) for folder in profile_folders())
        raise UsageError(f"unknown group {name!r}; {known}{hint} (searched: {searched})")
    targets: list[str] = []
    for each in groups[bare]:
        targets += _members(each, groups, (*within, name)) if each.startswith(SIGN) else [each]
    if not targets:
        raise UsageError(f"the group {name} names no target")
    return list(dict.fromkeys(targets))
