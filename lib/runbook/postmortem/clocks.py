"""The clocks of the machines that wrote a story, compared by way of the servers that all of them asked."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from runbook.evidence.statement import Predicate

# Less than this is not worth correcting: it is within what was measured.
WORTH_SAYING = 0.5


@dataclass(frozen=True)
class Clocks:
    """How far each machine's clock was ahead of the one that the story goes by, in seconds.

    ``reference`` names that one: a server that most runs compared themselves with. ``unknown`` are machines that share
    no server with the others, so that their times stay as they are.
    """

    reference: str = ""
    ahead: dict[str, float] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, facts: Iterable[Predicate]) -> "Clocks":
        """Return the clocks as the sealed facts of runs tell of them."""
        seen: dict[tuple[str, str], list[float]] = {}
        hosts: dict[str, None] = {}
        for one in facts:
            hosts[one.host] = None
            for name, offset in one.clock_offsets.items():
                # Two targets may name the same server alike: it is the same where its identity is.
                identity = ", ".join(one.identity.get(name, {}).values())
                seen.setdefault((one.host, f"{name} of {one.target}\n{identity}"), []).append(offset)
        count = Counter(clock for _, clock in seen)
        if not count:
            return cls(unknown=sorted(hosts) if len(hosts) > 1 else [])
        most = max(count.values())
        # Of those that most machines saw, the one that was asked most often.
        asked = {clock: sum(len(v) for (_, c), v in seen.items() if c == clock) for clock in count}
        reference = max((clock for clock in sorted(count) if count[clock] == most), key=lambda clock: asked[clock])
        ahead, known = {}, {reference: 0.0}
        waiting = deque([reference])
        while waiting:
            clock = waiting.popleft()
            for (host, other), offsets in seen.items():
                if other == clock and host not in ahead:
                    ahead[host] = known[clock] - median(offsets)
                    for (same, third), more in seen.items():
                        if same == host and third not in known:
                            known[third] = ahead[host] + median(more)
                            waiting.append(third)
        unknown = sorted(host for host in hosts if host not in ahead)
        return cls(f"the {reference.splitlines()[0]}", ahead, unknown)

    def corrected(self, at: datetime, host: str) -> datetime:
        """Return a time that a machine told, by the reference's clock."""
        ahead = self.ahead.get(host, 0.0)
        return at - timedelta(seconds=ahead) if abs(ahead) >= WORTH_SAYING else at

    def told(self) -> list[str]:
        """Return a sentence for each thing about the clocks that a reader must know."""
        wrong = {host: ahead for host, ahead in self.ahead.items() if abs(ahead) >= WORTH_SAYING}
        lines = []
        for host, ahead in sorted(wrong.items()):
            way = "ahead of" if ahead > 0 else "behind"
            lines.append(
                f"the clock of {host} was {_length(abs(ahead))} {way} {self.reference}: its times are corrected"
            )
        if self.unknown and len(self.unknown) + len(self.ahead) > 1:
            named = ", ".join(self.unknown)
            lines.append(f"the clock of {named} was compared with no other one's: its times stand as they were written")
        if not lines and self.reference:
            lines.append(f"all times agree with the clock of {self.reference}, within what was measured")
        elif wrong:
            lines.append(f"all times are those of {self.reference}, as each run measured the difference")
        return lines or ["no clock was compared with another: all times stand as they were written"]


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
