"""The runbook's panels as a dashboard for Grafana."""

import json
from typing import Any

from runbook.prometheus.panels import PANELS, Panel
from runbook.prometheus.queries import expression
from runbook.target import Target

# Grafana chooses one that fits the range and the interval of scraping; 5m is the runbook's.
_WINDOW = "5m"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2
_SCHEMA = 38  # Grafana 10; newer ones read it and bring it to their own
_COLOURS = ("green", "red")


def dashboard_text(target: Target | None = None) -> str:
    """Return the dashboard as JSON text."""
    return json.dumps(dashboard(target), indent=2, ensure_ascii=False) + "\n"


def dashboard(target: Target | None = None) -> dict[str, Any]:
    """Return the dashboard: the runbook's five panels, with the jobs and thresholds of a profile.

    Its data source is a variable, so that it can be imported as it is.
    """
    made = target if target is not None else Target(name="default")
    source = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "skipUrlSync": False,
        "current": {},
        "options": [],
    }
    return {
        "uid": "shrimp-runbook",
        "title": "Shrimp Annotation Pipeline: the runbook's panels",
        "description": "Made by `runbook alerts dashboard`; each panel says what the runbook's own query shows.",
        "tags": ["shrimp", "runbook"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": [source]},
        "panels": [_panel(place, panel, made) for place, panel in enumerate(PANELS)],
    }


def _panel(place: int, panel: Panel, target: Target) -> dict[str, Any]:
    limits = panel.thresholds(target)
    steps: list[dict[str, Any]] = [{"color": _COLOURS[0], "value": None}]
    steps += [{"color": _COLOURS[1], "value": limit} for limit in limits if limit != float("inf")]
    defaults: dict[str, Any] = {
        "unit": panel.grafana_unit,
        "color": {"mode": "palette-classic"},
        "custom": {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 0,
            "showPoints": "never",
            "spanNulls": False,  # a gap in the samples is a gap in the line
            "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
        },
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.least is not None:
        defaults["min"] = panel.least
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.note,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": place % _COLUMNS * _WIDTH, "y": place // _COLUMNS * _HEIGHT},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "editorMode": "code",
                "expr": expression(line.query, target, _WINDOW, **line.given),
                "legendFormat": line.legend,
                "range": True,
            }
            for number, line in enumerate(panel.lines)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
    }
