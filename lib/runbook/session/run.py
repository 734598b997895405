"""A run: one execution of one notebook against one target."""

import atexit
import inspect
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from runbook.connections import KINDS, Connection, ContainersConnection
from runbook.connections.ending import ends_gently
from runbook.model import (
    CouldNotFindOut,
    DoesNotApply,
    Finding,
    Findings,
    Question,
    RunbookError,
    Status,
    Unreachable,
    UsageError,
)
from runbook.model.change import Change
from runbook.model.deadline import DeadlinePassed, Pending
from runbook.model.layout import new_run_id
from runbook.model.question import Asked
from runbook.model.text import TARGET, printable
from runbook.redaction import Redactor
from runbook.session.dependencies import GRACE_SECONDS, Dependencies
from runbook.session.display import ShownAnswer, Summary, TargetShown, explain
from runbook.session.planning import Planner, Planning, Whose
from runbook.session.plots import Headroom
from runbook.session.shown_plan import ShownPlan
from runbook.session.sources import executed_sources
from runbook.session.spool import keep_frame
from runbook.target import Target, load_target

_current: "Run | None" = None


def open_run(notebook: str, *, needs: Sequence[str], target: str = "sandbox", incident: str = "") -> "Run":
    """Open a run of a notebook on a target and connect to what it needs, all at once and bounded.

    ``needs`` are names of `runbook.connections.KINDS`. A dependency that does not answer is no error here: questions to
    it say so. Called again in the same kernel, it ends the former run and tries everything anew. Raises `UsageError`
    for an unknown target, a profile with mistakes, an unknown need, or an incident that is not in the archive.
    """
    global _current  # noqa: PLW0603 - a kernel has one run at a time
    unknown = sorted(set(needs) - set(KINDS))
    if unknown:
        raise UsageError(f"unknown needs: {', '.join(unknown)}; there are: {', '.join(KINDS)}")
    if _current is not None:
        _current.close()
    profile = load_target(target)
    _current = Run(notebook, profile, _known(incident, profile), needs)
    return _current


def _known(incident: str, target: Target) -> str:
    """Return the id of an incident that is named by its id, the end of it, or as "open"; "" where none is named."""
    if not incident:
        return ""
    from runbook.evidence.incidents import find  # the archive is read by few runs

    try:
        return find(incident).id
    except UsageError as unknown:
        scrub = Redactor(target.secret_values(), allow=target.redaction.allow)
        raise UsageError(scrub.text(str(unknown))) from None  # what was given may be anything


class Run:
    """The answers of one run, and the connections and deadlines that it owns."""

    def __init__(self, notebook: str, target: Target, incident: str, needs: Sequence[str]) -> None:
        self.notebook = notebook
        self.target = target
        self.incident = incident
        self.opened_at = datetime.now(UTC)
        self.run_id = os.environ.get("RUNBOOK_RUN_ID") or new_run_id(notebook, self.opened_at)
        self.findings = Findings()
        self._redactor = Redactor(target.secret_values(), allow=target.redaction.allow)
        self._questions: dict[str, Question] = {}
        self._arguments: dict[str, dict[str, Any]] = {}
        self._not_asked: set[str] = set()
        self._dependencies = Dependencies(target, f"runbook {notebook}"[:63])
        kinds = [KINDS[name] for name in needs]
        if needs and target.containers is not None and target.containers.named:
            kinds.append(ContainersConnection)
        self._dependencies.open(kinds)
        whose = Whose(notebook, target, self.run_id, incident)
        self._planner = Planner(whose, self._dependencies, self._redactor, self.findings, self._look)
        atexit.register(self.close)

    def ask(self, question: Question, **arguments: Any) -> ShownAnswer:
        """Ask a question and return its answer, which shows itself as a verdict and a table.

        ``arguments`` are thresholds of the question's check, or what its probe takes. Whatever keeps the question from
        being answered becomes an UNKNOWN finding with the reason.
        """
        thresholds, probed = self._parted(question, arguments)
        asked_at, began = datetime.now(UTC), time.monotonic()
        frame, findings = self._found(question, thresholds, probed)
        seconds = time.monotonic() - began
        data = keep_frame(question.name, frame) if frame is not None else None
        return ShownAnswer(question, frame, tuple(findings), asked_at, seconds, data, run_id=self.run_id)

    def propose(
        self,
        change: Change,
        *,
        verify: Sequence[Question | Asked],
        first: Sequence[Question] = (),
        confirm: str = "",
        even_if_well: bool = False,
        **arguments: Any,
    ) -> ShownPlan:
        """Plan a change and return the plan, which shows itself; nothing is changed.

        ``verify`` are the questions that tell, before and after, whether it helps (`Question.given`: with arguments).
        It is not planned while one of ``first`` is CRITICAL, which is then to be mended first, nor, where it repairs,
        while everything that it would mend is well (unless ``even_if_well``). With ``confirm``, the token of a plan,
        that plan is loaded instead, and what moved since is shown.
        """
        checks = [check if isinstance(check, Asked) else Asked(check) for check in verify]
        planning = Planning(change, checks, list(first), even_if_well, arguments)
        return self._planner.propose(planning, confirm)

    def apply(self, plan: ShownPlan, confirm: str) -> ShownPlan:
        """Carry out a plan and return what came of it, shown; without its token nothing is done.

        What was explained by what the plan was to mend is looked at anew: it may have been mended with it.
        """
        before = self.explained()
        shown = self._planner.apply(plan, confirm)
        if shown.carried_out:
            mended = {check.question for check in shown.plans[0].plan.checks}
            names = dict.fromkeys(f.check for f in before if f.explained_by in mended and f.check not in mended)
            self._look(
                [Asked(self._questions[name], self._arguments[name]) for name in names if name in self._questions]
            )
        return shown

    def _found(
        self, question: Question, thresholds: dict[str, Any], probed: dict[str, Any]
    ) -> tuple[Any, list[Finding]]:
        """Ask and judge, and return the frame (None: not asked) and the findings, which are now those of the run."""
        frame, found = None, None
        reason = self.target.reason_not_applicable(question.name)
        if reason is not None:
            found = [Finding(object=self.target.name, status=Status.SKIPPED, message=reason)]
        else:
            frame, found = self._probe(question, probed)
        if frame is not None:
            frame, found = self._judge(question, frame, thresholds)
        (self._not_asked.add if frame is None else self._not_asked.discard)(question.name)
        findings = [self._complete(finding, question) for finding in found or []]
        self._questions[question.name] = question
        self._arguments[question.name] = {**thresholds, **probed}
        self.findings.replace(question.name, findings)
        return frame, findings

    def _look(self, checks: Sequence[Asked]) -> list[Finding]:
        """Ask questions anew, of connections opened anew, without keeping more of it than the findings."""
        self._dependencies.renew({kind for check in checks for kind in check.question.needs})
        found = []
        for check in checks:
            thresholds, probed = self._parted(check.question, check.arguments)
            found += self._found(check.question, thresholds, probed)[1]
        return found

    def headroom(self) -> Headroom:
        """Return a plot of how much of each limit is used: of every finding so far that is a percentage."""
        return Headroom([finding for finding in self.findings if finding.unit == "%"])

    def lacks(self, kind: type[Connection]) -> str:
        """Return why a connection of this kind cannot be had, by the profile or by trying; "" where it can."""
        if lacking := kind.lacking(self.target):
            return lacking
        try:
            self._dependencies.connection(kind)
        except (Unreachable, CouldNotFindOut) as why:
            return str(why)
        return ""

    def explained(self) -> Findings:
        """Return all findings so far, each that another explains pointing to that one."""
        return explain(self.findings, self._questions, self._not_asked)

    def summary(self) -> Summary:
        """Return all findings, the most severe first and with what explains them, and the verdict; ends the run."""
        explained = self.explained()
        summary = Summary(
            self.run_id,
            self.notebook,
            self.target,
            explained,
            self.opened_at,
            datetime.now(UTC),
            executed_sources(self._redactor),
        )
        self.close()
        return summary

    def close(self) -> None:
        """Close all connections; a question asked afterwards opens its own again."""
        self._dependencies.close()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = TargetShown(self.run_id, self.target, self.incident, self.opened_at, self._dependencies)
        return shown.bundle(self._redactor)

    def _probe(
        self, question: Question, arguments: dict[str, Any], *, again: bool = True
    ) -> tuple[Any, list[Finding] | None]:
        limit = self.target.deadlines.question or question.deadline
        try:
            return self._wait_for(
                Pending(lambda: question.probe(self._dependencies, **arguments)), question, limit
            ), None
        except DoesNotApply as reason:
            return None, [Finding(object=self.target.name, status=Status.SKIPPED, message=str(reason))]
        except CouldNotFindOut as reason:
            return None, [_unknown(question, f"could not be asked: {reason}")]
        except DeadlinePassed:
            if not again or not question.needs:
                return None, [_unknown(question, f"no answer within {limit:g} s")]
            # Asked once more, the dependency is known to be silent: a question on that very fact judges it.
            self._dependencies.give_up(question.needs, limit, question.name)
            return self._probe(question, arguments, again=False)
        except RunbookError:
            raise
        except Exception as mistake:  # noqa: BLE001 - told as a finding: the other questions are still worth asking
            return None, [_unknown(question, _mistake(mistake))]

    def _wait_for(self, asked: Pending[Any], question: Question, limit: float) -> Any:
        """Return what a probe gives; one that can be ended gently gives what there is, also when it is interrupted."""
        if not any(getattr(kind, "ends_gently", False) for kind in question.needs):
            return asked.result(limit)
        with ends_gently():
            try:
                return asked.result(limit)
            except (KeyboardInterrupt, DeadlinePassed) as ended:
                why = "it was interrupted" if isinstance(ended, KeyboardInterrupt) else f"its {limit:g} s were over"
                if not self._dependencies.interrupt(question.needs, why):
                    raise
                try:
                    return asked.result(GRACE_SECONDS)
                except DeadlinePassed:
                    raise ended from None

    def _judge(self, question: Question, frame: Any, thresholds: dict[str, Any]) -> tuple[Any, list[Finding]]:
        try:
            scrubbed = self._redactor.frame(frame)
            return scrubbed, question.check(frame, **thresholds) or [_unknown(question, "there was nothing to judge")]
        except Exception as mistake:  # noqa: BLE001 - as for the probe
            return None, [_unknown(question, _mistake(mistake))]

    def _parted(self, question: Question, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the check takes, the profile's thresholds included, and what the probe takes; some is for both.

        Raises `UsageError` for what neither takes.
        """
        thresholds, probe = self._thresholds(question, arguments), inspect.signature(question.probe).parameters
        unknown = sorted(set(arguments) - set(thresholds) - set(probe))
        if unknown:
            there = ", ".join(question.thresholds) or "none"
            raise UsageError(f"{question.name} takes no {', '.join(unknown)}; its thresholds: {there}")
        return thresholds, {name: value for name, value in {**arguments, **thresholds}.items() if name in probe}

    def _thresholds(self, question: Question, arguments: Mapping[str, Any]) -> dict[str, Any]:
        known = question.thresholds
        from_profile = self.target.thresholds.get(question.name, {})
        unknown = sorted(set(from_profile) - set(known))
        if unknown:
            there = ", ".join(known) or "none"
            raise UsageError(
                f"profile {self.target.name}: {question.name} has no threshold {', '.join(unknown)}; it has {there}"
            )
        given = {name: value for name, value in arguments.items() if name in known}
        senseless = [name for name, value in given.items() if isinstance(value, float) and math.isnan(value)]
        if senseless:
            raise UsageError(f"{question.name}: {', '.join(senseless)} is no number: it would never be passed")
        return {**known, **from_profile, **given}

    def _complete(self, finding: Finding, question: Question) -> Finding:
        """Return the finding with what the check leaves to the session, scrubbed of secrets."""
        bad = finding.status not in (Status.OK, Status.SKIPPED)
        # What to do about a bad measurement is no advice where nothing was measured.
        after = question.next if bad and question.name not in self._not_asked else ""
        today = datetime.now(UTC).date()
        return msgspec.structs.replace(
            finding,
            check=question.name,
            object=self._shown(finding.object),
            message=self._shown(finding.message),
            value=self._shown(finding.value) if isinstance(finding.value, str) else finding.value,
            threshold=self._shown(finding.threshold) if isinstance(finding.threshold, str) else finding.threshold,
            unit=self._shown(finding.unit),
            source=self._redactor.text(fill(finding.source or question.source, self.target)),
            next=self._shown(self._from_here(fill(finding.next or after, self.target, (TARGET,)))),
            acknowledged=self.target.acknowledgement(question.name, finding.object, today) if bad else None,
        )

    def _from_here(self, text: str) -> str:
        """Return a next step, that leads to this very notebook, without the command that runs it once more."""
        command = f"runbook run {self.notebook} --target {self.target.name}"
        return re.sub(rf"{re.escape(command)}(?![^\s,;:.])(?! -p)", "in this notebook", text)

    def _shown(self, text: str) -> str:
        # Scrubbed first: a secret could hold a sign that is not shown.
        return printable(self._redactor.text(text))


def fill(text: str, target: Target, marks: Sequence[str] | None = None) -> str:
    """Return a source or a next step with the target's addresses in place of {api}, {redis}, {prometheus} and
    {alertmanager}, and with its name in place of {target} in ``--target {target}``, so that it can be run.

    A next step holds names of anybody's: only its ``marks`` are filled in (of a source, all), and other braces stay.
    """
    parts = {
        "api": target.api,
        "redis": target.redis,
        "prometheus": target.prometheus,
        "alertmanager": target.alertmanager,
    }
    places = {
        TARGET: f"--target {target.name}",
        **{f"{{{name}}}": part.url if part else "" for name, part in parts.items()},
    }
    for mark in places if marks is None else marks:
        text = text.replace(mark, places[mark])
    return text


def _mistake(error: Exception) -> str:
    words = (str(error).splitlines() or [""])[0][:200]
    return f"the question itself failed ({type(error).__name__}: {words}): a mistake in the runbook, to be reported"


def _unknown(question: Question, reason: str) -> Finding:
    return Finding(object=_subject(question.needs), status=Status.UNKNOWN, message=reason)


def _subject(needs: Iterable[type]) -> str:
    return " and ".join(getattr(kind, "name", kind.__name__) for kind in needs) or "the run itself"
