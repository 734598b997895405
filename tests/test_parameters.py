"""The collection of notebooks and their parameters, checked before anything starts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook.cli.listing import matches
from runbook.model import UsageError
from runbook.model.collection import Notebook, all_notebooks, collection_folder, find_notebook
from runbook.runner.parameters import Parameter, declared, parse

PARAMETERS = """\
target: str = "sandbox"  # the profile's name
ticket: str = ""  # any text
hours: int = 24  # how far back
share: float = 0.5  # of all requests
offset: int = -3
quick: bool = False  # leave out what takes long
"""
METADATA = {
    "title": "Look at the queue", "severity": "P2", "symptoms": ["queue grows", "slow annotation"],
    "alerts": ["QueueBacklog"], "schedule": None, "changes": "none", "seconds": 5,
}  # fmt: skip
Write = Callable[..., Notebook]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a notebook with these parameters cells into a collection that is then the one that is found."""
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path))

    def write(*cells: str | list[str], name: str = "probe", section: str = "1-tests") -> Notebook:
        tagged: dict[str, Any] = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": []}
        plain = {"cell_type": "markdown", "metadata": {}, "source": "# title"}
        document = {
            "cells": [plain, *({**tagged, "source": cell} for cell in cells)],
            "metadata": {"runbook": METADATA},
        }
        path = tmp_path / section / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
        return Notebook(path)

    return write


# --- what is declared


@pytest.mark.parametrize("lines", [PARAMETERS, PARAMETERS.splitlines(keepends=True)], ids=["one text", "lines"])
def test_parameters_are_read_with_type_default_and_comment(lines: str | list[str], write: Write) -> None:
    assert list(declared(write(lines)).values()) == [
        Parameter("target", str, "sandbox", "the profile's name"),
        Parameter("ticket", str, "", "any text"),
        Parameter("hours", int, 24, "how far back"),
        Parameter("share", float, 0.5, "of all requests"),
        Parameter("offset", int, -3, ""),
        Parameter("quick", bool, False, "leave out what takes long"),
    ]


def test_a_hash_inside_a_default_is_no_comment(write: Write) -> None:
    assert declared(write('note: str = "a # b"')) == {"note": Parameter("note", str, "a # b", "")}


@pytest.mark.parametrize("cells", [(), ("a: int = 1", "b: int = 2")], ids=["none", "two"])
def test_a_notebook_has_one_parameters_cell(cells: tuple[str, ...], write: Write) -> None:
    notebook = write(*cells)
    with pytest.raises(UsageError, match=f"notebook probe has {len(cells)} cells tagged parameters, not one"):
        parse(notebook, [])


@pytest.mark.parametrize(
    "line",
    ["hours = 24", "hours: int", "hours: list = []", "hours: 'int' = 1", "print(1)", "a.b: int = 1", "import os",
     "hours: int = int(24)", "hours: int = 12 * 2", "hours: int ="],
)  # fmt: skip
def test_a_line_that_declares_no_typed_literal_is_refused_by_its_number(line: str, write: Write) -> None:
    with pytest.raises(UsageError, match="notebook probe: parameters line 2"):
        declared(write(f'target: str = "sandbox"\n{line}'))


# --- what is given


@pytest.mark.parametrize("text", ["0123", "12e4", "inf", "nan", "true", "None", "1_000", "", " ", "a=b=c", "{'a': 1}"])
def test_a_text_stays_the_text_that_it_was(text: str, write: Write) -> None:
    assert parse(write(PARAMETERS), [f"ticket={text}"]) == {"ticket": text}


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("hours=48", 48),
        ("hours=-1", -1),
        ("hours=0123", 123),
        ("share=0.25", 0.25),
        ("share=12e4", 120000.0),
        ("share=3", 3.0),
        *((f"quick={text}", True) for text in ("true", "True", "YES", "1")),
        *((f"quick={text}", False) for text in ("false", "False", "No", "0")),
    ],
)
def test_numbers_and_truth_are_read_as_declared(given: str, value: object, write: Write) -> None:
    read = parse(write(PARAMETERS), [given])[given.partition("=")[0]]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("hours=soon", "hours takes a whole number, not 'soon'"),
        ("hours=1.5", "hours takes a whole number, not '1.5'"),
        ("hours=12e4", "hours takes a whole number, not '12e4'"),
        ("hours=", "hours takes a whole number, not ''"),
        ("hours=inf", "hours takes a whole number, not 'inf'"),
        ("share=half", "share takes a number, not 'half'"),
        ("share=nan", "share takes a number, not 'nan'"),
        ("quick=2", "quick takes true or false, not '2'"),
        ("quick=", "quick takes true or false, not ''"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_type_that_is_right(given: str, says: str, write: Write) -> None:
    with pytest.raises(UsageError) as refused:
        parse(write(PARAMETERS), [given])
    assert str(refused.value) == f"notebook probe: parameter {says}"


def test_an_unknown_parameter_is_told_with_all_that_there_are_and_the_near_one(write: Write) -> None:
    with pytest.raises(UsageError) as refused:
        parse(write(PARAMETERS), ["huors=1"])
    assert "no parameter 'huors'; it has target, ticket, hours, share, offset, quick. Did you mean hours?" in str(
        refused.value
    )


@pytest.mark.parametrize("given", ["zzz=1", "=1", " hours=1", "Quick=1"])
def test_a_name_is_taken_exactly(given: str, write: Write) -> None:
    with pytest.raises(UsageError, match="has no parameter"):
        parse(write(PARAMETERS), [given])


@pytest.mark.parametrize("given", ["hours", "hours:1", ""])
def test_an_assignment_without_equals_sign_is_refused_with_the_right_form(given: str, write: Write) -> None:
    with pytest.raises(UsageError, match="takes NAME=VALUE"):
        parse(write(PARAMETERS), [given])


def test_given_twice_the_last_value_counts_and_what_is_not_given_keeps_its_default(write: Write) -> None:
    assert parse(write(PARAMETERS), ["hours=1", "hours=2"]) == {"hours": 2}
    assert parse(write(PARAMETERS), []) == {}


def test_every_notebook_declares_its_target_as_text() -> None:
    for notebook in all_notebooks():
        assert declared(notebook)["target"].kind is str, notebook.name
        assert all(parameter.says for parameter in declared(notebook).values()), notebook.name


# --- the collection


@pytest.mark.parametrize(
    "name", ["morning-health-check", "morning-health-check.ipynb", "1-daily-operations/morning-health-check"]
)
def test_a_notebook_is_found_with_and_without_its_section(name: str) -> None:
    notebook = find_notebook(name)
    assert (notebook.name, notebook.section) == ("morning-health-check", "1-daily-operations")
    assert notebook.metadata.title


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("morning-helth-check", "did you mean morning-health-check"),
        ("health", "did you mean morning-health-check"),
        ("zzz", "`runbook list` shows all"),
        ("", "`runbook list` shows all"),
        ("../../etc/passwd", "unknown notebook '../../etc/passwd'"),
    ],
)
def test_an_unknown_notebook_is_told_with_what_is_near(
    name: str, says: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(PARAMETERS, name="morning-health-check")
    write(PARAMETERS, name="log-review")
    with pytest.raises(UsageError) as refused:
        find_notebook(name)
    assert f"unknown notebook {name!r}; " in str(refused.value) and says in str(refused.value)


def test_the_collection_is_in_the_order_of_its_sections_and_leaves_out_what_stands_elsewhere(
    write: Write, tmp_path: Path
) -> None:
    for name, section in (("b", "2-more"), ("z", "1-tests"), ("a", "drafts"), ("c", ".ipynb_checkpoints")):
        write(PARAMETERS, name=name, section=section)
    (tmp_path / "1-tests" / "notes.txt").touch()
    assert [(n.section, n.name) for n in all_notebooks()] == [("1-tests", "z"), ("2-more", "b")]


def test_the_collection_is_found_beside_the_library_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNBOOK_NOTEBOOKS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert collection_folder() == Path(__file__).resolve().parent.parent / "notebooks"


def test_a_relative_folder_of_the_collection_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", "own")
    with pytest.raises(UsageError, match="which is no folder"):
        collection_folder()
    (tmp_path / "own").mkdir()
    assert collection_folder() == tmp_path / "own"


@pytest.mark.parametrize("content", ["no json", "", "[]", "{}", '"text"', '{"cells": 1}', b"\xff"])
@pytest.mark.parametrize("ask", [declared, lambda notebook: notebook.metadata], ids=["parameters", "metadata"])
def test_a_file_that_is_no_notebook_is_refused(ask: Any, content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match="broken"):
        ask(Notebook(path))


@pytest.mark.parametrize(
    ("symptom", "found"),
    [("queue", True), ("SLOW queue", True), ("queuebacklog", True), ("probe", True), ("1-tests", True), ("", True),
     ("queue volcano", False)],
)  # fmt: skip
def test_a_symptom_leads_to_a_notebook_by_any_of_its_words(symptom: str, found: bool, write: Write) -> None:
    assert matches(write(PARAMETERS), symptom) is found
