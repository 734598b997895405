"""The page of a run: what it shows, and that nothing of what it shows runs."""

import base64
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hostile import Browser, canary, elements_of, find_browser, payloads, ran, without_policy

from runbook.evidence.report import ReportError, render_report
from runbook.model import Finding, Status
from runbook.model.finding import Acknowledgement
from runbook.model.plan import Entry, Helped, Plan, PlanState, PostCheck, Step
from runbook.model.protocol import PlanRecord, RunRecord

RUN_ID = "run_20261124T080000Z_morning-health-check_abcdef"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 20).decode()


def record(*findings: Finding, **changed: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "notebook": "morning-health-check",
        "target": "production",
        "run_id": RUN_ID,
        "status": "CRITICAL",
        "exit": 2,
        "error": None,
        "seconds": 4.2,
        "evidence": "",
        "started": "2026-11-24T08:00:00Z",
        "ended": "2026-11-24T08:00:04Z",
        "operator": "ines",
    }
    return RunRecord(**{**facts, **changed}, findings=list(findings))


def code(*outputs: dict[str, Any], source: str = "run.ask(redis.reachable)") -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "execution_count": 1, "metadata": {}, "outputs": list(outputs)}


def shows(**data: Any) -> dict[str, Any]:
    bundle = {kind.replace("__", "/").replace("_", "+"): value for kind, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": bundle}


def prose(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": text, "metadata": {}}


@pytest.fixture
def page(tmp_path: Path) -> Any:
    """Put a run into a folder and return its page as text."""

    def make(run: RunRecord, *cells: dict[str, Any], title: str = "Is everything well?") -> str:
        (tmp_path / "run.json").write_bytes(msgspec.json.encode(run))
        document = {"metadata": {"runbook": {"title": title}}, "cells": list(cells), "nbformat": 4}
        (tmp_path / "notebook.ipynb").write_text(json.dumps(document))
        return render_report(tmp_path).decode()

    return make


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>")[1]))


def test_a_page_begins_with_the_verdict_and_what_is_worst(page: Any) -> None:
    shown = page(
        record(
            Finding(object="disk", status=Status.OK, message="12% used", check="host.disk"),
            Finding(object="slots", status=Status.WARNING, message="81% used", value=81.234, threshold=80.0, unit="%"),
            Finding(
                object="Redis", status=Status.CRITICAL, message="refuses", check="redis.reachable", next="start it"
            ),
            incident="INC-7",
        )
    )
    text = text_of(shown)
    order = ["CRITICAL Is everything well?", "production", "INC-7", "refuses", "Next: start it", "81% used", "12% used"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "81.23 %" in text and "limit 80 %" in text and "ines" in text and RUN_ID in text


def test_what_a_finding_explains_stands_below_it(page: Any) -> None:
    text = text_of(
        page(
            record(
                Finding(
                    object="api", status=Status.CRITICAL, message="answered 500", check="api", explained_by="redis"
                ),
                Finding(object="slots", status=Status.CRITICAL, message="all are used", check="slots"),
                Finding(object="Redis", status=Status.CRITICAL, message="refuses", check="redis"),
            )
        )
    )
    assert text.index("refuses") < text.index("answered 500") < text.index("all are used")
    assert "Explained by redis : mend that first" in text


def test_an_acknowledged_finding_says_why_and_until_when(page: Any) -> None:
    accepted = Acknowledgement(reason="moves in May", until=date(2027, 5, 1))
    shown = page(record(Finding(object="disk", status=Status.WARNING, message="full", acknowledged=accepted)))
    assert "Acknowledged until 2027-05-01: moves in May" in text_of(shown)
    assert "Nothing that counts" in shown


def test_a_run_that_did_not_end_has_a_page_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(record(ended="", status="FAILED", error="killed")))
    text = text_of(render_report(tmp_path).decode())
    assert "DID NOT END" in text and "left no notebook" in text and "not the same as being well" in text


def test_a_damaged_notebook_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(record()))
    for damaged in (b'{"cells": [', b"[" * 100_000, b"\xff\xfe", b'{"cells": 3}', b'{"cells": [3, {"outputs": 4}]}'):
        (tmp_path / "notebook.ipynb").write_bytes(damaged)
        assert b"The notebook, as it was run" in render_report(tmp_path)


def test_a_folder_without_a_readable_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be read"):
        render_report(tmp_path)
    (tmp_path / "run.json").write_text('{"run_id": 3}')
    with pytest.raises(ReportError, match="not the record of a run"):
        render_report(tmp_path)


def test_the_same_folder_gives_the_same_bytes(page: Any, tmp_path: Path) -> None:
    page(record(), prose("# one"), code(shows(text__plain="two")))
    assert render_report(tmp_path) == render_report(tmp_path)


def test_tables_of_pandas_survive(page: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame({"table": ["a", "b"], "rows": [1, 2]}).groupby("table").agg(["min", "max"])
    plain = frame.reset_index(drop=True).droplevel(0, axis="columns").to_html()
    shown = page(record(), code(shows(text__html=frame.to_html()), shows(text__html=plain)))
    for kept in ('<table border="1" class="dataframe">', '<th colspan="2">rows</th>', 'style="text-align: right"'):
        assert kept in shown


def test_a_status_in_an_output_looks_as_it_does_at_the_top(page: Any) -> None:
    shown = page(record(), code(shows(text__html='<p><span style="background:#fff;color:#fff">CRITICAL</span></p>')))
    assert '<span class="badge CRITICAL">CRITICAL</span>' in shown


def test_plots_are_inline_and_drawings_are_pictures(page: Any) -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'
    plot = {"output_type": "display_data", "data": {"image/png": PIXEL, "text/plain": "plot: <b> of 3 limits"}}
    shown = page(record(), code(plot, {"output_type": "display_data", "data": {"image/svg+xml": drawing}}))
    assert 'alt="plot: &lt;b&gt; of 3 limits" src="data:image/png;base64,' in shown
    assert 'src="data:image/svg+xml;base64,' in shown and "<script" not in shown


def test_what_is_no_picture_is_not_shown_as_one(page: Any) -> None:
    not_png = {"output_type": "display_data", "data": {"image/png": base64.b64encode(b"<svg/>").decode()}}
    shown = page(record(), code(not_png, {"output_type": "display_data", "data": {"application/javascript": "run()"}}))
    assert "<img" not in shown and "run()" not in shown
    assert "not shown: application/javascript" in shown and "not shown: image/png" in shown


def test_invisible_signs_are_made_visible(page: Any) -> None:
    tricks = {"\u202e": "U+202E", "\u200b": "U+200B", "\x00": "U+0000", "\ufeff": "U+FEFF", "\U000e0041": "U+E0041"}
    for sign, marked in tricks.items():
        hidden = f"prod{sign}gpj.exe"
        finding = Finding(object=hidden, status=Status.CRITICAL, message=hidden, source=hidden, next=hidden)
        shown = page(
            record(finding, target=hidden, incident=hidden),
            prose(hidden),
            code({"output_type": "stream", "text": hidden}, shows(text__html=f"<p>{hidden}</p>"), source=hidden),
            title=hidden,
        )
        assert sign not in shown
        # A parser of HTML drops a null byte from an output and from Markdown; everywhere else it is told.
        assert shown.count(marked) >= 10
    piled = "e" + "\u0301" * 30
    assert "\u0301" * 5 not in page(record(Finding(object=piled, status=Status.CRITICAL, message="x")))
    assert "Ünïcödé, 東京, ✓" in page(record(Finding(object="Ünïcödé, 東京, ✓", status=Status.CRITICAL, message="x")))


def test_what_is_too_long_is_cut_and_its_size_said(page: Any) -> None:
    shown = page(record(), code({"output_type": "stream", "text": "x" * 200_000_000}))
    assert len(shown) < 3_000_000
    assert "cut: the first 2,000,000 of 200,000,000 characters (190.7 MiB)" in shown


def test_many_long_outputs_together_stay_a_page_that_opens(page: Any) -> None:
    shown = page(record(), *[code({"output_type": "stream", "text": "x" * 1_500_000}) for _ in range(40)])
    assert len(shown) < 25_000_000


@pytest.mark.parametrize("element", ["<b class={}>", "<div id={}>", "<svg><td a={}>", "<!--{}--><i x={}>"])
def test_html_that_would_take_for_ever_to_look_through_is_shown_as_text(page: Any, element: str) -> None:
    bomb = "".join(element.replace("{}", str(n)) for n in range(60_000))
    assert "HTML shown as text" in page(record(), code(shows(text__html=bomb)))


def test_a_very_long_name_is_cut_in_its_middle_and_leaves_room_for_what_is_said_of_it(page: Any) -> None:
    path = f"GET /first/{'x' * 3000}/last"
    shown = page(record(Finding(object=path, status=Status.CRITICAL, message="fails", check="api.paths")))
    (told,) = re.findall(r"<b title=\"([^\"]*)\">([^<]*)</b>", shown)
    assert told[0] == path, "the whole of it is there to be looked at"
    assert len(told[1]) == 120 and told[1].startswith("GET /first/x") and told[1].endswith("x/last") and "…" in told[1]
    assert re.search(r"\.out td, \.out th \{[^}]*max-width: [^}]*overflow-wrap: break-word", shown)


def test_ten_thousand_findings_are_all_shown(page: Any) -> None:
    findings = [
        Finding(object=f"table {n}", status=Status.WARNING, message="bloated", check="b") for n in range(10_000)
    ]
    shown = page(record(*findings))
    assert shown.count('<tr class="cause">') == 10_000 and "10,000 WARNING" in shown


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return find_browser(tmp_path_factory.mktemp("browser"))


def hostile_cells(text: str) -> list[dict[str, Any]]:
    return [
        prose(text),
        {"cell_type": "raw", "source": text},
        code(
            {"output_type": "stream", "name": text, "text": text},
            {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
            {"output_type": "error", "ename": text, "evalue": text},
            shows(text__plain=text),
            shows(text__html=text),
            shows(text__html=f"<table><tr><td>{text}</td></tr></table>"),
            shows(text__markdown=text),
            shows(text__latex=text),
            shows(application__json={text: text}),
            {"output_type": "display_data", "data": {"image/svg+xml": f"<svg xmlns='x'>{text}</svg>"}},
            {"output_type": "display_data", "data": {"image/png": PIXEL, "text/plain": text}},
            {"output_type": "display_data", "data": {text: text, "application/javascript": text}},
            {"output_type": text, "data": {"application/vnd.jupyter.widget-view+json": text}},
            source=text,
        ),
    ]


def hostile_record(text: str, number: int = 0) -> RunRecord:
    finding = Finding(
        object=text,
        status=Status.CRITICAL,
        message=text,
        check=f"{number}{text}",
        value=text,
        threshold=text,
        unit=text,
        source=text,
        next=text,
        explained_by=text if number % 2 else "",
    )
    named = dict.fromkeys(("target", "notebook", "incident", "operator", "run_id", "status", "error"), text)
    return record(finding, **named, plans=[hostile_plan(text, finding)], not_planned={text: text})


def hostile_plan(text: str, finding: Finding) -> PlanRecord:
    step = Step(act=text, shown=text, arguments={text: text}, previewed=False)
    names = (
        "id",
        "change",
        "summary",
        "notebook",
        "target",
        "user",
        "host",
        "made",
        "expires",
        "irreversible",
        "undoes",
    )
    plan = Plan(
        **dict.fromkeys(names, text), identity={text: {text: text}}, arguments={text: text}, observed={text: text},
        expected={text: text}, steps=[step], blast_radius=[text], inverse=[step], restored={text: text},
        checks=[PostCheck(question=text)], patience=1.0,
    )  # fmt: skip
    helped = Helped(answer=text, changed=[text], left=[text])
    entry = Entry(at=text, event="outcome", step=1, told=text, user=text, host=text, run_id=text)
    return PlanRecord(
        id=text, summary=text, steps=[text], state=PlanState.FAILED, plan=plan, journal=[entry], before=[finding],
        after=[finding], helped=helped, told=[text],
    )  # fmt: skip


def test_the_payloads_do_run_where_nothing_stops_them(browser: Browser, tmp_path: Path) -> None:
    with canary() as bird:
        (tmp_path / "naive.html").write_text("<!doctype html>" + payloads(bird.address)[0])
        assert ran(browser.dom(tmp_path / "naive.html")) and bird.asked


@pytest.mark.parametrize("layers", ["sanitizer and policy", "sanitizer alone"])
def test_no_payload_runs_or_loads_anything_in_any_place(
    browser: Browser, page: Any, tmp_path: Path, layers: str
) -> None:
    with canary() as bird:
        texts = payloads(bird.address)
        findings = [finding for n, text in enumerate(texts) for finding in hostile_record(text, n).findings]
        cells = [cell for text in texts for cell in hostile_cells(text)]
        names = msgspec.structs.replace(hostile_record("".join(texts)), findings=findings)
        shown = page(names, *cells, title="".join(texts)).encode()
        (tmp_path / "all.html").write_bytes(shown if layers == "sanitizer and policy" else without_policy(shown))
        dom = browser.dom(tmp_path / "all.html")
    assert not ran(dom) and bird.asked == []
    # The last cell is there: no payload ended the document before it.
    assert dom.rstrip().endswith("</html>") and dom.count("code [1]") == len(texts)
    elements = elements_of(dom)
    assert not [name for name, _ in elements if name in ("script", "iframe", "object", "embed", "base", "form", "link")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    for _, attributes in elements:
        assert re.match(r"data:image/|$", attributes.get("src", ""))
        assert re.match(r"https?:|mailto:|data/|run\.json$|notebook\.ipynb$|\.\./|$", attributes.get("href", ""))


def test_the_policy_alone_stops_what_a_sanitizer_let_pass(browser: Browser, page: Any, tmp_path: Path) -> None:
    with canary() as bird:
        whole = page(record(), prose("HERE"))
        for payload in payloads(bird.address):
            # A link that is not clicked and a page that replaces itself are no matter of a policy.
            if "http-equiv=refresh" not in payload and "\0" not in payload:
                whole = whole.replace("HERE", f"{payload}HERE", 1)
        (tmp_path / "open.html").write_text(whole)
        assert not ran(browser.dom(tmp_path / "open.html")) and bird.asked == []
