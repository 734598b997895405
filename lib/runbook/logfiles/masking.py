"""Make one of many: messages without their numbers and ids, paths without the ids of what they lead to."""

import re

# Ids first: what is left of digits afterwards are numbers.
_ID = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b",
    re.IGNORECASE,
)
# Every id holds so many hexadecimal digits side by side: where there are none, nothing else needs to be looked for.
_MAY_BE_ID = re.compile(r"[0-9a-fA-F]{8}")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_DIGIT = re.compile(r"\d")
_SEGMENT_ID = re.compile(r"\d+|[0-9a-f]{8,}|[0-9a-f-]{36}|[0-9a-f]{8,}_[\w-]+", re.IGNORECASE)
# The commonest path with an id: what stands before the id decides everything about it.
ENDS_IN_ID = re.compile(r"((?:/[a-z_-]+)+/)(?:[0-9]+|(?=[a-f]*[0-9])[0-9a-f]{8,})")
MESSAGE_CHARACTERS = 300


def masked(message: str) -> str:
    """Return a message with its ids as ``<id>`` and its numbers as ``#``, cut to `MESSAGE_CHARACTERS`."""
    told = message[: 2 * MESSAGE_CHARACTERS]
    if _MAY_BE_ID.search(told):
        told = _ID.sub("<id>", told)
    return _NUMBER.sub("#", told)[:MESSAGE_CHARACTERS]


def route(path: str) -> str:
    """Return a path without its query, with each segment that is an id as ``{id}``."""
    bare = path.split("?", 1)[0][:MESSAGE_CHARACTERS]
    head, _, last = bare.rpartition("/")
    if not _DIGIT.search(bare):
        return bare
    parts = [*head.split("/"), last]
    return "/".join("{id}" if _SEGMENT_ID.fullmatch(part) and _DIGIT.search(part) else part for part in parts)
