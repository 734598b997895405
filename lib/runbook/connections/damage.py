"""What PostgreSQL says of what is damaged: by which error, and on which page of which file."""

import re

from psycopg import errors

DAMAGED = (errors.IndexCorrupted, errors.DataCorrupted)
_PAGE = re.compile(
    r"(?:invalid page in block|could not read blocks?) (\d+)(?:\.\.\d+)? (?:of relation|in file) \"?([^\s\":;]+)"
)


def tells_of_damage(words: str) -> bool:
    """Tell whether an error says that a page is not what was written."""
    return "invalid page in block" in words


def page_of(words: str, path: str) -> int | None:
    """Return which page of the relation in that file an error tells of; None where it tells of another's, or none."""
    found = _PAGE.search(words)
    return int(found[1]) if found and found[2] == path else None
