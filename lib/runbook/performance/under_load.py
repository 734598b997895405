"""Put a target under a bounded load: what a practice stack takes at any time, and any other target by a plan only."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ApiConnection, LoadGenerator
from runbook.connections.generator import Bounds, Step
from runbook.model import Act, Asking, Change, CouldNotFindOut, DoesNotApply, Draft
from runbook.model import Step as PlanStep
from runbook.performance.driving import drive, loads, needs_plan, rate_limit, url_of, within_limits


def observe(
    asking: Asking, *, path: str, highest: float, seconds: float, slow_ms: float, failed: float
) -> dict[str, Any]:
    """Return the facts that the load rests on: planned (whether the target wants a plan), url, per_minute (the
    service's own rate limit), most_rate, and the generator.
    """
    return {
        "planned": needs_plan(asking),
        "url": url_of(asking, path),
        "per_minute": rate_limit(asking) if needs_plan(asking) else None,
        "most_rate": asking.target.load.most_rate,
        "generator": asking.connection(LoadGenerator).identity["what"],
    }


def draft(
    facts: Mapping[str, Any], *, path: str, highest: float, seconds: float, slow_ms: float, failed: float
) -> Draft:
    """Write out the load: each rate with its call, and when it stops by itself."""
    if not facts["planned"]:
        raise DoesNotApply("this is a practice stack: it is put under load below, without a plan")
    steps, bounds = loads(highest, seconds, slow_ms, failed)
    within_limits(steps, facts["most_rate"], facts["per_minute"])
    count, longest = sum(step.count for step in steps), sum(step.seconds + bounds.patience for step in steps)
    calls = [shlex.join(LoadGenerator("h2load", "").command(facts["url"], step, bounds)) for step in steps]
    limit = facts["per_minute"]
    return Draft(
        summary=f"put {facts['url']} under load: up to {steps[-1].rate:g} requests/s, {count:,} in all",
        steps=(
            PlanStep(
                act="load",
                shown="; ".join(calls),
                arguments={
                    "url": facts["url"],
                    "steps": [[step.period_ms, step.seconds] for step in steps],
                    "bounds": [bounds.slow_seconds, bounds.slow_share, bounds.failed_share],
                },
            ),
        ),
        blast_radius=(
            f"{count:,} GET requests from this machine within {longest:.0f} s at most; its users wait with them",
            f"it stops by itself where p99 is above {slow_ms:g} ms or more than {failed:g}% fail, and at Ctrl-C",
            "a service that scales by itself may start more of it; alerts on latency may fire",
            f"the service admits {limit:g} requests a minute from one address" if limit else "no rate limit is told",
        ),
        irreversible="what was sent cannot be taken back; it only reads",
    )


def _carry_out(asking: Asking, arguments: Mapping[str, Any]) -> str:
    steps = [Step(int(period), float(seconds)) for period, seconds in arguments["steps"]]
    slow_seconds, slow_share, failed_share = map(float, arguments["bounds"])
    bounds = Bounds(slow_seconds, slow_share, failed_share)
    frame = drive(asking, arguments["url"], steps, bounds)
    told = [
        f"{row['rate']:g}/s: p50 {row['p50_ms']:,.0f} ms, p99 {row['p99_ms']:,.0f} ms"
        + (f" ({row['stopped']})" if row["stopped"] else "")
        for row in frame.to_dict("records")
    ]
    if not told:
        raise CouldNotFindOut("nothing was sent")
    return "; ".join(told)


def _nothing_left(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return False  # cut short, it has left nothing behind, and nothing of what it told: it may be sent once more


put_under_load = Change(
    name="performance.put_under_load",
    title="Put the service under load",
    observe=observe,
    draft=draft,
    acts={"load": Act(_carry_out, _nothing_left)},
    needs=(ApiConnection,),
    watched=("planned", "url", "per_minute", "most_rate"),
    acts_on=(LoadGenerator,),
    partial=True,
    patience=10.0,
)
