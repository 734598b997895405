"""The text of a statement without what could be anybody's data: no literal, no number, no comment."""

import re

import pandas as pd

# How much of a statement is read, and how much of it is shown.
MOST_READ, MOST_SHOWN = 4000, 200  # the statements in sql/ ask for one sign more
HIDDEN = "…"
_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*(?:\n|\Z))
    | (?P<comment>/\*)
    | (?P<escaped>[eE]'(?:[^'\\]|''|\\.)*(?P<escaped_end>')?)
    | (?P<string>(?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?P<string_end>')?)
    | (?P<dollar>\$(?P<tag>[^\W\d]\w*|)\$)
    | (?P<quoted>"(?:[^"]|"")*(?P<quoted_end>")?)
    | (?P<parameter>\$\d+)
    | (?P<number>(?:0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?))
    | (?P<word>[^\W\d][\w$]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")


def without_literals(text: str | None) -> str:
    """Return a statement in one line: each literal and number as …, comments left out, at most 200 signs.

    What cannot be told for sure is hidden to the end: a token that does not end (the server cuts long statements off),
    and a backslash before an apostrophe in a plain string, which a setting of the session gives its meaning.
    """
    cut = len(text or "") > MOST_READ
    text, place, told = (text or "")[:MOST_READ], 0, list[str]()
    while place < len(text):
        token = _TOKEN.match(text, place)
        assert token is not None  # the last alternative takes anything
        place = token.end()
        kind = next(name for name in _KINDS if token[name] is not None)
        if kind == "space":
            told.append(" ")
        elif kind == "comment":
            told.append(" ")
            end = _after_comment(text, place)
            if end is None:
                return _shown([*told, HIDDEN])
            place = end
        elif kind == "dollar":
            end = text.find(token["dollar"], place)
            told.append(HIDDEN)
            if end < 0:
                return _shown(told)
            place = end + len(token["dollar"])
        elif kind in ("string", "escaped"):
            told.append(f"'{HIDDEN}'")
            if token[f"{kind}_end"] is None or (kind == "string" and "\\'" in token[0]):
                return _shown([*told, HIDDEN])
        elif kind == "quoted" and token["quoted_end"] is None:
            return _shown([*told, HIDDEN])
        elif kind == "number":
            told.append(HIDDEN)
        else:
            told.append(token[0])
    return _shown([*told, HIDDEN] if cut else told)


_KINDS = ("space", "comment", "escaped", "string", "dollar", "quoted", "parameter", "number", "word", "other")


def _after_comment(text: str, place: int) -> int | None:
    """Return where a comment that was begun ends; they nest. None where it does not."""
    depth = 1
    while depth:
        mark = _COMMENT.search(text, place)
        if mark is None:
            return None
        depth += 1 if mark[0] == "/*" else -1
        place = mark.end()
    return place


def _shown(told: list[str]) -> str:
    text = re.sub(r" +", " ", "".join(told)).strip()
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def masked(frame: pd.DataFrame, column: str = "query") -> pd.DataFrame:
    """Return a frame whose statements, in a column, are without literals; where there is none it stays as it is."""
    texts = frame[column]
    return frame.assign(**{column: texts.where(texts.isna(), texts.map(without_literals, na_action="ignore"))})
