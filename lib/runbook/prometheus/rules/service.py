"""Rules on the service: what its users feel, and the queue."""

import math
from dataclasses import dataclass

from runbook.prometheus.rules.rule import Rule, Severity, Terms, number

MINUTE, HOUR, DAY = 60, 3600, 86_400

ERRORS_NOTEBOOK = "3-incident-response/high-error-rate"
# Counters by another label (`code`) have no 5xx for these rules, however many fail.
_TELLS_STATUS = 'status!=""'
QUEUE_NOTEBOOK = "7-troubleshooting/queue-backup"

BUDGET_DAYS = 30


@dataclass(frozen=True)
class Burn:
    """A rule on how fast a month's budget of errors is used up: it fires when ``percent`` of it go in the ``long``
    window (seconds), and the ``short`` one tells that it still goes on.
    """

    name: str
    percent: float
    long: int
    short: int
    wait: int
    severity: Severity

    @property
    def times(self) -> float:
        """Return how many times too fast that is: 1 uses up the budget just within its days."""
        return self.percent / 100 * BUDGET_DAYS * DAY / self.long


# The pairs of Google's SRE workbook, "Alerting on SLOs".
BURNS = (
    Burn("ErrorBudgetBurnsFast", 2, HOUR, 5 * MINUTE, 2 * MINUTE, "critical"),
    Burn("ErrorBudgetBurns", 5, 6 * HOUR, 30 * MINUTE, 15 * MINUTE, "critical"),
    Burn("ErrorBudgetBurnsSlowly", 10, 3 * DAY, 6 * HOUR, HOUR, "warning"),
)


def rules(t: Terms) -> list[Rule]:
    """Return the rules on the service, the runbook's own first."""
    return [_high_error_rate(t), _high_response_time(t), _api_down(t), *_burns(t), _queue_stands(t), _oldest_item(t)]


def _high_error_rate(t: Terms) -> Rule:
    every = t.api("http_requests_total", _TELLS_STATUS)
    failed = t.api("http_requests_total", 'status=~"5.."')
    share, least = t.limit("error_percent") / 100, t.limit("errors")
    return Rule(
        name="HighErrorRate",
        expr=(
            f"(sum({t.counted(failed, 5 * MINUTE)}) > {number(least)})\n"
            f"/ sum({t.counted(every, 5 * MINUTE)})\n"
            f"> {number(share)}"
        ),
        wait=t.seconds(2 * MINUTE),
        severity="critical",
        summary="{{ $value | humanizePercentage }} of the requests fail with 5xx",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of all requests of the last {t.window(5 * MINUTE)} were answered "
            f"5xx (limit {100 * share:g}%, and more than {least:g} of them)."
        ),
        notebook=ERRORS_NOTEBOOK,
        metrics=(t.api("http_requests_total"), every),
    )


def _high_response_time(t: Terms) -> Rule:
    buckets, all_of_them = "http_request_duration_seconds_bucket", 'le="+Inf"'
    seconds, window = t.limit("p95_ms") / 1000, t.window(5 * MINUTE)
    return Rule(
        name="HighResponseTime",
        expr=(
            f"histogram_quantile(0.95, sum by (le) (rate({t.api(buckets)}[{window}]))) > {number(seconds)}\n"
            f"and sum(increase({t.api(buckets, all_of_them)}[{window}])) > {number(t.limit('requests'))}"
        ),
        wait=t.seconds(5 * MINUTE),
        severity="warning",
        summary='95% of the requests take up to {{ $value | printf "%.1f" }} s',
        description=(
            f'The 95th percentile of all requests of the last {window} is {{{{ $value | printf "%.2f" }}}} s '
            f"(limit {seconds:g} s); one in twenty takes longer than that."
        ),
        notebook="7-troubleshooting/query-performance",
        metrics=(t.api(buckets),),
    )


def _api_down(t: Terms) -> Rule:
    up = t.api("up")
    return Rule(
        name="ApiDown",
        expr=f"{up} == 0 or absent({up})",
        wait=t.seconds(MINUTE),
        severity="critical",
        summary="The service does not answer Prometheus{{ with $labels.instance }}: {{ . }}{{ end }}",
        description=(
            "{{ if $labels.instance }}{{ $labels.instance }} did not answer the last scrapes{{ else }}"
            f"Prometheus has no target of the job {t.jobs.api}{{{{ end }}}}."
        ),
        notebook="3-incident-response/api-down",
        metrics=(up,),
        absent=True,
    )


def _burns(t: Terms) -> list[Rule]:
    every = t.api("http_requests_total", _TELLS_STATUS)
    failed = t.api("http_requests_total", 'status=~"5.."')
    budget = (100 - t.objective) / 100

    def burn(one: Burn) -> Rule:
        most = number(one.times * budget)
        # The same traffic must be there in each: a longer window has more of it, and a lower share of it fails.
        least = math.ceil(t.limit("errors") * one.percent / BURNS[0].percent)
        return Rule(
            name=one.name,
            expr=(
                f"(sum({t.counted(failed, one.long)}) > {least})\n"
                f"/ sum({t.counted(every, one.long)}) > {most}\n"
                f"and\n"
                f"sum({t.counted(failed, one.short)})\n"
                f"/ sum({t.counted(every, one.short)}) > {most}"
            ),
            wait=t.seconds(one.wait),
            severity=one.severity,
            summary="Errors use up the month's budget "
            + (f"{one.times:.3g} times too fast" if one.times > 1 else "too fast"),
            description=(
                f"{{{{ $value | humanizePercentage }}}} of the requests of the last {t.window(one.long)} were answered "
                f"5xx, and it goes on; the objective is {t.objective:g}%, the limit here "
                f"{100 * one.times * budget:.3g}%, more than {least} of them. In that time {one.percent:g}% of the "
                f"budget of {BUDGET_DAYS} days goes, all of it in {BUDGET_DAYS / one.times:.3g} days."
            ),
            notebook=ERRORS_NOTEBOOK,
            metrics=(t.api("http_requests_total"), every),
        )

    return [burn(one) for one in BURNS]


def _queue_stands(t: Terms) -> Rule:
    size, age = t.api("triage_queue_size"), t.api("triage_oldest_item_age_seconds")
    hours, window = t.limit("stuck_hours"), t.window(15 * MINUTE)
    return Rule(
        name="QueueNotDraining",
        expr=(f"max({age}) > {number(hours * HOUR)}\nand max(deriv({size}[{window}])) >= 0"),
        wait=t.seconds(15 * MINUTE),
        severity="warning",
        summary="The triage queue does not drain: its oldest item waits for {{ $value | humanizeDuration }}",
        description=(
            f"The queue has not become shorter for {window}, and its oldest item waits for "
            f"{{{{ $value | humanizeDuration }}}} (limit {hours:g} h). A queue that falls is left alone."
        ),
        notebook=QUEUE_NOTEBOOK,
        metrics=(size, age),
    )


def _oldest_item(t: Terms) -> Rule:
    age, hours = t.api("triage_oldest_item_age_seconds"), t.limit("oldest_hours")
    return Rule(
        name="OldestItemWaitsTooLong",
        expr=f"max({age}) > {number(hours * HOUR)}",
        wait=t.seconds(15 * MINUTE),
        severity="warning",
        summary="An item of the triage queue waits for {{ $value | humanizeDuration }}",
        description=(
            f"The oldest item waits for {{{{ $value | humanizeDuration }}}} (limit {hours:g} h), whether or not the "
            "queue falls: somebody's work is forgotten."
        ),
        notebook=QUEUE_NOTEBOOK,
        metrics=(age,),
    )
