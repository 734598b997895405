"""A change that could be made: what it looks at first, how it is written out, how each of its steps is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook.model.plan import Step
from runbook.model.question import Asking


class ChangeFailed(Exception):
    """Raised by an act that the other side refused, or ended with an error that it told; the reason says so.

    What breaks off in the middle raises `CouldNotFindOut` instead: then nobody knows whether it happened.
    """


class NotPlanned(Exception):
    """Raised by a draft for a change that must not be planned, although it was asked for; the reason says why."""


@dataclass(frozen=True)
class Act:
    """How one kind of step is done.

    ``do`` does it with the step's arguments and returns what the other side told; it raises `ChangeFailed` or
    `CouldNotFindOut`. ``happened`` finds out later whether a step that was begun at a moment did happen: True, False,
    or None where that cannot be told.
    """

    do: Callable[[Asking, Mapping[str, Any]], str]
    happened: Callable[[Asking, Mapping[str, Any], datetime], bool | None] = lambda asking, arguments, begun: None


@dataclass(frozen=True)
class Draft:
    """A change written out.

    ``expected`` are facts that must be observed afterwards. ``inverse`` are the steps that undo it; where there are
    none, ``irreversible`` says why.
    """

    summary: str
    steps: tuple[Step, ...]
    blast_radius: tuple[str, ...]
    expected: Mapping[str, Any] = field(default_factory=dict)
    inverse: tuple[Step, ...] = ()
    irreversible: str = ""


@dataclass(frozen=True)
class Change:
    """One kind of change to a target.

    *observe* looks, read-only, and returns facts as plain data; *draft* is pure: facts and arguments in, the change
    written out; it raises `DoesNotApply` where there is nothing to do, `NotPlanned` where it must not be done.
    ``watched`` names the facts that must still be the same when the plan is carried out, ``restored`` those that its
    inverse brings back. ``acts_on`` names connections that its acts need beyond ``needs``: opened only then, but
    without their being in the profile nothing is planned. ``repairs`` says that it is of use only while something is
    wrong; ``partial``, that it mends one thing of several that its post-checks may find: what was just as bad before
    does not speak against it. ``patience`` is how many seconds its effect may take to be seen. What is not
    ``of_target``, such as a message about it, silences none of its alerts and waits for no other change of it.
    ``to_copy`` returns, from the same arguments, the text by which a person does the same elsewhere; it is shown until
    the change is carried out. ``concerns`` returns what one that is not of the target is about: where one was cut
    short, whoever plans another about the same is told so.
    """

    name: str
    title: str
    observe: Callable[..., dict[str, Any]]
    draft: Callable[..., Draft]
    acts: Mapping[str, Act]
    needs: tuple[type, ...]
    watched: tuple[str, ...]
    restored: tuple[str, ...] = ()
    repairs: bool = False
    patience: float = 40.0
    deadline: float = 10.0
    acts_on: tuple[type, ...] = ()
    partial: bool = False
    of_target: bool = True
    to_copy: Callable[..., str] | None = None
    concerns: Callable[..., str] = lambda **arguments: ""
