"""The unit of the library: what is asked, how it is judged, what it needs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from runbook.model.finding import Finding

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class Asking(Protocol):
    """What a probe gets from the run: the target's profile and the connections it may use."""

    @property
    def target(self) -> Any:
        """The target's profile (`runbook.target.Target`)."""

    def connection(self, kind: type[T]) -> T:
        """Return the open connection of that kind; raises `Unreachable` where there is none."""

    def clocks(self) -> Mapping[str, Any]:
        """Return each open dependency's clock reading, by the dependency's name."""


@dataclass(frozen=True)
class Question:
    """One question to a target.

    The *probe* asks, read-only, and returns a DataFrame; it raises `CouldNotFindOut` or `DoesNotApply` with the reason
    otherwise. The *check* is pure: the frame and, as keyword arguments with defaults, its thresholds; it returns
    findings. ``deadline`` bounds the probe in seconds. ``explained_by`` names checks whose CRITICAL explains a failure
    of this one, each with the reason; ``caused_by`` those whose CRITICAL explains a finding of this one that holds one
    of the words.
    """

    name: str
    title: str
    probe: Callable[..., "pd.DataFrame"]
    check: Callable[..., list[Finding]]
    source: str
    needs: tuple[type, ...] = ()
    deadline: float = 5.0
    next: str = ""
    explained_by: Mapping[str, str] = field(default_factory=dict)
    caused_by: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def given(self, **arguments: Any) -> "Asked":
        """Return this question with arguments, as `Run.propose` takes it to verify a change."""
        return Asked(self, arguments)

    @property
    def thresholds(self) -> dict[str, Any]:
        """Return the thresholds that a profile may change, by name, with their defaults."""
        parameters = inspect.signature(self.check).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@dataclass(frozen=True)
class Asked:
    """A question with thresholds or arguments of its own."""

    question: Question
    arguments: Mapping[str, Any] = field(default_factory=dict)
