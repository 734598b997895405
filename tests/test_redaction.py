"""No secret of a target is left in what is written, in whatever form it appears, and nothing else is changed."""

import base64
import copy
import html
import json
import random
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import nbformat
import pandas as pd
import pytest

import runbook
from runbook.redaction import Redactor, redact_notebook
from runbook.redaction.document import CellCache
from runbook.redaction.redactor import MARK

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
_random = random.Random(20310131)


def seeded(length: int, alphabet: str) -> str:
    return "".join(_random.choices(alphabet, k=length))


HARD = "/+@'\"<>&é%\\#?=:;!$~ü*()[]{}^|.,"
SECRETS = [
    "hunter2-S3cret",
    "sixsix",
    "p@ss/w+rd",
    "o'brien\"s<key>&co",
    "back\\slash\\and\\n",
    "naïve-пароль-🔑",
    "100%&amp;more",
    "a=b;c:d#e?f",
    *(seeded(length, string.ascii_letters + string.digits) for length in (6, 7, 8, 16, 32, 64)),
    *(seeded(length, string.ascii_letters + HARD) for length in (8, 13, 21, 34, 55)),
]
WORD = SECRETS[0]

RENDERINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL-encoded": lambda s: quote(s, safe=""),
    "URL-encoded but for slashes": quote,
    "URL-encoded in lower case": lambda s: re.sub("%..", lambda code: code[0].lower(), quote(s, safe="")),
    "URL-encoded as a form": quote_plus,
    "URL-encoded as a browser does": lambda s: quote(s, safe="!'()*~"),
    "URL-encoded as httpx does": lambda s: httpx.URL("http://h", params={"q": s}).query.decode().removeprefix("q="),
    "HTML-escaped": html.escape,
    "HTML-escaped without quotes": lambda s: html.escape(s, quote=False),
    "HTML-escaped with decimal codes": lambda s: html.escape(s).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "JSON-escaped": lambda s: json.dumps(s)[1:-1],
    "JSON-escaped without ASCII": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "JSON inside JSON": lambda s: json.dumps(json.dumps(s))[3:-3],
    "JSON inside HTML": lambda s: html.escape(json.dumps(s)[1:-1]),
    "repr": lambda s: repr(s)[1:-1],
    "repr inside HTML": lambda s: html.escape(repr(s)[1:-1], quote=False),
    "repr of bytes": lambda s: repr(s.encode())[2:-1],
    "SQL literal": lambda s: s.replace("'", "''"),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
}


def leaks(render: Callable[[str], str]) -> list[str]:
    """Return the secrets that a redactor of them all leaves readable in a rendering between other text."""
    redactor = Redactor(SECRETS)
    scrubbed = {secret: redactor.text(f"before {render(secret)} after") for secret in SECRETS}
    return [secret for secret, text in scrubbed.items() if text != f"before {MARK} after"]


@pytest.mark.parametrize("form", RENDERINGS)
def test_a_secret_is_gone_in_each_rendering_and_what_stands_beside_it_stays(form: str) -> None:
    assert leaks(RENDERINGS[form]) == []


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
@pytest.mark.parametrize("offset", range(6))
def test_a_secret_is_gone_in_base64_wherever_it_begins(encode: Callable[[bytes], bytes], offset: int) -> None:
    redactor, left = Redactor(SECRETS), []
    for secret in SECRETS:
        raw = secret.encode()
        for after in (b"", b"\xff", b"\xff\xff"):
            whole = encode(b"\xff" * offset + raw + after).decode().strip()
            scrubbed = redactor.text(f"Basic {whole} ")
            # At most a sign on either side holds bits of the secret, together with bits of its neighbour.
            rest = len(scrubbed.replace("\n", "")) - len(f"Basic {MARK} ")
            if MARK not in scrubbed or rest > (offset + len(after)) * 4 / 3 + 4:
                left.append(secret)
    assert left == []


def broken(text: str, end: str, width: int) -> str:
    return end.join(text[start : start + width] for start in range(0, len(text), width))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n", "\\r\\n", "\\\n", "\n    ", "\n> ", "\n│ "])
@pytest.mark.parametrize("width", [3, 5, 76])
def test_a_secret_split_over_lines_is_gone(end: str, width: int) -> None:
    assert leaks(lambda secret: broken(secret, end, width)) == []


@pytest.mark.parametrize("end", ["\n", "\\n"])
def test_an_encoded_secret_split_over_lines_is_gone(end: str) -> None:
    assert leaks(lambda secret: broken(secret.encode().hex(), end, 8)) == []
    assert leaks(lambda secret: broken(quote(secret, safe=""), end, 5)) == []


def test_a_passphrase_is_gone_when_a_line_was_wrapped_at_its_spaces() -> None:
    scrubbed = Redactor(["correct horse battery"]).text("it is correct\nhorse battery\nstaple")
    assert scrubbed == f"it is {MARK}\nstaple"


# --- what stays


def test_ordinary_text_is_unchanged() -> None:
    redactor = Redactor(SECRETS)
    for path in sorted(Path(runbook.__path__[0]).rglob("*.py")):
        assert redactor.text(path.read_text()) == path.read_text(), path.name
    assert redactor.count == 0


def test_a_notebook_without_secrets_is_unchanged() -> None:
    for path in sorted(NOTEBOOKS.glob("*/*.ipynb")):
        scrubbed = json.dumps(redact_notebook(json.loads(path.read_text()), Redactor(SECRETS)))
        assert nbformat.reads(scrubbed, as_version=4) == nbformat.read(path, as_version=4), path.name


def test_a_document_is_copied_and_not_changed() -> None:
    document = notebook(code_cell(stream(f"it is {WORD}")))
    before = copy.deepcopy(document)
    assert redact_notebook(document, Redactor([WORD])) != document == before


@pytest.mark.parametrize("secrets", [[], [""], ["", ""]])
def test_without_secrets_nothing_is_scrubbed(secrets: list[str]) -> None:
    redactor = Redactor(secrets)
    assert redactor.text("any text") == "any text" and redactor.data({"a": [1, "b"]}) == {"a": [1, "b"]}
    assert redactor.count == 0


@pytest.mark.parametrize("short", ["a", "root", "abc12", "p+w"])
def test_a_short_secret_is_gone_only_as_a_whole_word(short: str) -> None:
    scrubbed = Redactor([short]).text(f"password={short} x{short}y {short}s '{short}'")
    assert scrubbed == f"password={MARK} x{short}y {short}s '{MARK}'"


def test_from_six_signs_on_a_secret_is_gone_inside_words_too() -> None:
    assert Redactor(["sixsix"]).text("xsixsixy") == f"x{MARK}y"


def test_of_two_secrets_that_overlap_the_longer_is_taken_whole() -> None:
    assert Redactor(["hunter2", "hunter2-S3cret", "S3cret-more"]).text("hunter2-S3cret hunter2") == f"{MARK} {MARK}"


def test_scrubbing_twice_changes_nothing_more() -> None:
    redactor = Redactor(SECRETS)
    once = redactor.text(" ".join(SECRETS))
    assert redactor.text(once) == once


def test_count_is_how_many_places_were_scrubbed() -> None:
    redactor = Redactor([WORD, "other-secret"])
    redactor.text(f"{WORD} and {WORD}")
    redactor.data({"a": ["other-secret", {WORD: 1}]})
    redactor.text("nothing")
    assert redactor.count == 4


# --- nested data


def test_nested_data_is_scrubbed_to_the_last_key() -> None:
    scrubbed = Redactor([WORD]).data({"a": [1, None, True, 2.5, {WORD: (WORD, "x")}], WORD: f"<{WORD}>"})
    assert scrubbed == {"a": [1, None, True, 2.5, {MARK: [MARK, "x"]}], MARK: f"<{MARK}>"}


def test_bytes_are_scrubbed_also_where_they_are_no_text() -> None:
    scrubbed = Redactor([WORD]).data({"file": b"\xff\x00" + WORD.encode() + b"\xfe"})
    assert scrubbed == {"file": f"\\xff\x00{MARK}\\xfe"}


def test_a_secret_of_digits_is_gone_as_a_json_number_too() -> None:
    scrubbed = json.dumps(Redactor(["48151623"]).data({"password": 48151623, "port": 5432, "on": True}))
    assert "48151623" not in scrubbed and json.loads(scrubbed)["port"] == 5432


# --- whole documents


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(metadata: dict[str, Any] | None = None, **bundle: Any) -> dict[str, Any]:
    data = {kind.replace("_", "/"): value for kind, value in bundle.items()}
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def error(*traceback: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": "E", "evalue": "told", "traceback": list(traceback)}


def code_cell(*outputs: dict[str, Any], source: str | list[str] = "ask()") -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}, "execution_count": 1}


def notebook(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def chunks(text: str, name: str = "stdout", size: int = 3) -> list[dict[str, Any]]:
    return [stream(text[at : at + size], name) for at in range(0, len(text), size)]


def interleaved(text: str) -> list[dict[str, Any]]:
    return [part for pair in zip(chunks(text), chunks("." * len(text), "stderr"), strict=True) for part in pair]


def frames_of(text: str) -> str:
    return pd.DataFrame({"who": ["app"], "dsn": [f"postgresql://u:{text}@h/d"]}).to_html()


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "source": lambda s: code_cell(source=f"connect({s!r})"),
    "source in lines": lambda s: code_cell(source=["connect(\n", f"  {s!r})"]),
    "a markdown cell": lambda s: {"cell_type": "markdown", "source": [f"use {s}"], "metadata": {}},
    "a stream": lambda s: code_cell(stream(f"login with {s}\n")),
    "a stream in lines": lambda s: code_cell({**stream(""), "text": ["login\n", f"with {s}\n"]}),
    "a stream in chunks": lambda s: code_cell(*chunks(f"login with {s}\n")),
    "stdout and stderr in turn": lambda s: code_cell(*interleaved(f"login with {s}\n")),
    "chunks around a display": lambda s: code_cell(stream(s[:4]), display(text_plain="x"), stream(s[4:])),
    "a traceback": lambda s: code_cell(error("Traceback", f"  connect({s!r})", f"E: {s}")),
    "a traceback over two frames": lambda s: code_cell(error(f"  {s[:4]}", f"{s[4:]}  ")),
    "a coloured traceback": lambda s: code_cell(error(f"\x1b[31mE\x1b[39m: {s}\x1b[0m")),
    "an exception's text": lambda s: code_cell({**error("x"), "evalue": f"cannot log in with {s}"}),
    "text": lambda s: code_cell(display(text_plain=f"'{s}'")),
    "text in lines": lambda s: code_cell(display(text_plain=["'\n", s])),
    "an HTML table": lambda s: code_cell(display(text_html=frames_of(s))),
    "JSON": lambda s: code_cell(display(application_json={"a": [{"b": s}], s: None})),
    "JSON as text": lambda s: code_cell(display(text_plain=json.dumps({"password": s}))),
    "a type of its own": lambda s: code_cell(display(**{"application_vnd.x+json": {"findings": [{"message": s}]}})),
    "metadata of an output": lambda s: code_cell(display({"note": {"deep": [s]}}, text_plain="x")),
    "metadata of a cell": lambda s: {**code_cell(), "metadata": {"tags": [s], s: 1}},
    "metadata of the notebook": lambda s: {**code_cell(), "metadata": {"papermill": {"parameters": {"p": s}}}},
    "an attachment": lambda s: {**code_cell(), "attachments": {f"{s}.txt": {"text/plain": f"see {s}"}}},
    "an attachment in lines": lambda s: {**code_cell(), "attachments": {"a": {"text/plain": [s[:4] + "\n", s[4:]]}}},
    "a file as base64": lambda s: code_cell(display(image_png=base64.b64encode(b"\x89PNG" + s.encode()).decode())),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_gone_from_every_place_of_a_document(place: str) -> None:
    left = []
    for secret in SECRETS:
        redactor = Redactor([secret])
        written = redact_notebook(notebook(PLACES[place](secret)), redactor)
        forms = {render(secret) for render in RENDERINGS.values()}
        if not redactor.count or any(form in text for form in forms for text in texts(written)):
            left.append(secret)
    assert left == []


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [str(value)]


def test_metadata_of_the_notebook_is_scrubbed() -> None:
    written = redact_notebook(notebook(papermill={"parameters": {"note": WORD}}, title=WORD), Redactor([WORD]))
    assert written["metadata"] == {"papermill": {"parameters": {"note": MARK}}, "title": MARK}
    assert written["nbformat"] == 4


def test_a_scrubbed_notebook_is_still_a_valid_one() -> None:
    cells = [{**place(WORD), "id": f"c{number}"} for number, place in enumerate(PLACES.values())]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell.pop("attachments", None)
    nbformat.validate(nbformat.from_dict(redact_notebook(notebook(*cells), Redactor([WORD]))))


def test_the_chunks_of_each_stream_are_joined_in_the_place_of_its_first() -> None:
    outputs = [stream("a"), stream("1", "stderr"), display(text_plain="x"), stream("b"), stream("2", "stderr")]
    written = redact_notebook(notebook(code_cell(*outputs)), Redactor([WORD]))["cells"][0]["outputs"]
    assert written == [stream("ab"), stream("12", "stderr"), display(text_plain="x")]


@pytest.mark.parametrize("value", [["a", "b"], [], [["a"]], {"a": ["b", "c"]}, "a", 1, None])
def test_json_without_a_secret_stays_the_json_that_it_was(value: Any) -> None:
    document = notebook(code_cell(display(application_json=value, **{"application_vnd.x+json": value})))
    assert redact_notebook(document, Redactor([WORD])) == document


def test_a_failing_scrubber_raises_and_returns_no_document() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        redact_notebook(notebook(code_cell(display(application_json=deep))), Redactor([WORD]))


# --- the cell cache


def test_with_the_cell_cache_each_save_reads_as_without() -> None:
    redactor, cache = Redactor([WORD]), CellCache()
    document = notebook(*(code_cell() for _ in range(3)))
    for number, cell in enumerate(document["cells"]):
        cell["outputs"] += chunks(f"cell {number}: {WORD}\n")
        saved = json.loads(json.dumps(document))
        assert redact_notebook(saved, redactor, cache) == redact_notebook(saved, Redactor([WORD]))


def test_the_cell_cache_scrubs_an_unchanged_cell_once() -> None:
    redactor, cache = Redactor([WORD]), CellCache()
    for _ in range(3):
        redact_notebook(notebook(code_cell(stream(WORD))), redactor, cache)
    assert redactor.count == 1


@pytest.mark.parametrize("in_place", [False, True], ids=["in a new copy", "in place"])
def test_the_cell_cache_notices_a_changed_cell(in_place: bool) -> None:
    redactor, cache = Redactor([WORD]), CellCache()
    document = notebook(code_cell(stream("before")))
    redact_notebook(document, redactor, cache)
    document = document if in_place else copy.deepcopy(document)
    document["cells"][0]["outputs"].append(display(text_plain=f"later: {WORD}"))
    written = redact_notebook(document, redactor, cache)
    assert written["cells"][0]["outputs"] == [stream("before"), display(text_plain=f"later: {MARK}")]


def test_the_cell_cache_notices_that_cells_moved() -> None:
    redactor, cache = Redactor([WORD]), CellCache()
    first, second = code_cell(stream(f"1 {WORD}")), code_cell(stream(f"2 {WORD}"))
    redact_notebook(notebook(first, second), redactor, cache)
    written = redact_notebook(notebook(second), redactor, cache)
    assert written["cells"][0]["outputs"] == [stream(f"2 {MARK}")]


# --- frames


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([WORD, "x", None]),
        pd.Series([WORD, "x", None], dtype="string"),
        pd.Series([WORD, "x", None], dtype="category"),
        pd.Series([WORD, "x", None], dtype=object),
        pd.Series([[WORD, 1], {"a": WORD, WORD: 1}, None], dtype=object),
        pd.Series([(WORD, "x"), WORD.encode(), 1], dtype=object),
    ],
    ids=["text", "string", "category", "object", "nested", "tuples and bytes"],
)
def test_a_frames_texts_are_scrubbed_whatever_their_type(column: pd.Series) -> None:
    frame = pd.DataFrame({"text": column, "n": [1, 2, 3]})
    before = frame.copy(deep=True)
    redactor = Redactor([WORD])
    scrubbed = redactor.frame(frame)
    assert WORD not in repr(scrubbed.to_dict("records")) and MARK in repr(scrubbed.to_dict("records"))
    assert redactor.count >= 1 and list(scrubbed["n"]) == [1, 2, 3]
    pd.testing.assert_frame_equal(frame, before)


def test_missing_values_of_a_scrubbed_column_stay_missing() -> None:
    scrubbed = Redactor([WORD]).frame(pd.DataFrame({"a": [WORD, None], "b": pd.Categorical(["x", None])}))
    assert scrubbed.isna().to_dict("list") == {"a": [False, True], "b": [False, True]}


def test_a_frames_column_names_are_scrubbed() -> None:
    scrubbed = Redactor([WORD]).frame(pd.DataFrame({f"of {WORD}": [1], "b": ["x"], 3: ["y"]}))
    assert list(scrubbed.columns) == [f"of {MARK}", "b", 3]


def test_two_columns_named_by_secrets_are_both_scrubbed() -> None:
    scrubbed = Redactor([WORD, "other-secret"]).frame(pd.DataFrame({WORD: [WORD], "other-secret": ["x other-secret"]}))
    assert scrubbed.to_numpy().tolist() == [[MARK, f"x {MARK}"]] and set(scrubbed.columns) == {MARK}


def test_a_frames_index_is_scrubbed() -> None:
    scrubbed = Redactor([WORD]).frame(pd.DataFrame({"n": [1]}, index=[f"of {WORD}"]))
    assert WORD not in scrubbed.to_html()


def test_what_a_frame_holds_beside_its_rows_is_scrubbed() -> None:
    frame = pd.DataFrame({"text": pd.Categorical([f"a {WORD}", "b", f"a {WORD}"])})
    frame.attrs = {"note": f"of {WORD}", "list": [WORD, 1], "minutes": 5.0}
    scrubbed = Redactor([WORD]).frame(frame)
    assert scrubbed.attrs == {"note": f"of {MARK}", "list": [MARK, 1], "minutes": 5.0}
    assert list(scrubbed["text"]) == [f"a {MARK}", "b", f"a {MARK}"] and WORD not in repr(scrubbed["text"])
    assert frame.attrs["note"] == f"of {WORD}"


def test_a_frame_without_secrets_keeps_values_and_types() -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None], "n": [1, 2], "x": [1.5, float("nan")], "on": [True, False],
            "at": pd.Series([pd.Timestamp(0, tz="UTC"), pd.NaT]), "took": pd.to_timedelta([1, 2], unit="s"),
            "kind": pd.Categorical(["a", "b"]), "cells": [["a"], {"b": 1}],
            "flag": pd.Series([None, False], dtype=object),
        }
    )  # fmt: skip
    pd.testing.assert_frame_equal(Redactor([WORD]).frame(frame), frame)


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame(columns=["a", "b"]), pd.DataFrame({"n": [1]})])
def test_an_empty_frame_or_one_of_numbers_is_unchanged(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(Redactor([WORD]).frame(frame), frame)


@pytest.mark.parametrize("show", [repr, json.dumps, lambda text: repr(text.encode()), str])
def test_a_secret_of_several_lines_is_gone_however_its_line_ends_are_written(show: Callable[[str], str]) -> None:
    secret = "first-half\nsecond\thalf\r\nthird"
    scrubbed = Redactor([secret]).text(f"Illegal header value {show(f'Bearer {secret}')}")
    assert "half" not in scrubbed and "third" not in scrubbed and MARK in scrubbed
