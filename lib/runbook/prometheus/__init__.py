"""Questions to Prometheus: how much, how fast, how often wrong, and how that was a day and a week ago."""

from runbook.prometheus.alert_history import alert_history
from runbook.prometheus.alert_plots import AlertTimes
from runbook.prometheus.alert_states import alert_states
from runbook.prometheus.alertmanager import alerts_arrive, silences
from runbook.prometheus.endpoint_times import endpoint_times
from runbook.prometheus.errors_by_path import errors_by_path
from runbook.prometheus.errors_since import errors_since, moment_of
from runbook.prometheus.failing_plot import FailingPaths
from runbook.prometheus.hosts import disks, memory, network, processors
from runbook.prometheus.panel_plots import PanelPlot
from runbook.prometheus.panels import (
    panel_error_rate,
    panel_logins,
    panel_queue_growth,
    panel_request_rate,
    panel_response_time,
)
from runbook.prometheus.plots import Courses
from runbook.prometheus.requests import error_share, login_success, request_rate, response_time
from runbook.prometheus.rule_metrics import rule_metrics
from runbook.prometheus.rules_loaded import rules_loaded
from runbook.prometheus.scraping import scraping
from runbook.prometheus.window import Window, window
from runbook.prometheus.work import database_time, model_time, queue

# What the notebook key-metrics asks: these share their queries.
KEY_METRICS = (
    scraping,
    request_rate,
    response_time,
    error_share,
    login_success,
    processors,
    memory,
    disks,
    network,
    queue,
    model_time,
    database_time,
)
questions = (
    *KEY_METRICS,
    rule_metrics,
    rules_loaded,
    alert_states,
    alert_history,
    alerts_arrive,
    silences,
    panel_request_rate,
    panel_error_rate,
    panel_response_time,
    panel_logins,
    panel_queue_growth,
    endpoint_times,
    errors_by_path,
    errors_since,
)

__all__ = [
    "KEY_METRICS",
    "AlertTimes",
    "Courses",
    "FailingPaths",
    "PanelPlot",
    "Window",
    "alert_history",
    "alert_states",
    "alerts_arrive",
    "database_time",
    "disks",
    "endpoint_times",
    "error_share",
    "errors_by_path",
    "errors_since",
    "login_success",
    "memory",
    "model_time",
    "moment_of",
    "network",
    "panel_error_rate",
    "panel_logins",
    "panel_queue_growth",
    "panel_request_rate",
    "panel_response_time",
    "processors",
    "questions",
    "queue",
    "request_rate",
    "response_time",
    "rule_metrics",
    "rules_loaded",
    "scraping",
    "silences",
    "window",
]
