"""The page about metrics and alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from prometheus_client.metrics import MetricWrapperBase

from reference.markdown import block, code, table
from stepwire.chassis.metrics import Metrics

_INTRODUCTION = """# Metrics

Every service serves these at `/metrics` on its own port, in the text format of Prometheus. Durations are seconds.
What to alert on is told in [Watch it](../howto/watch.md). Besides them there are Prometheus' own metrics about the
process (`process_*`) and Python (`python_*`). `STEPWIRE_PROMETHEUS=false` switches all of them off.

"""


_ALERTS = """
## Alerts

These are the rules of `deploy/prometheus/alerts.yml`. Their numbers suit a system that is usually quick: adapt them to
yours.

"""

RULES = Path(__file__).parents[1] / "deploy" / "prometheus" / "alerts.yml"


def page() -> str:
    """All metrics, from the registry the services serve, and the alerts, from the file that is deployed."""
    metrics = table(("Name", "Kind", "Labels", "Meaning"), sorted(_rows()))
    return _INTRODUCTION + metrics + _ALERTS + "\n".join(_alerts())


def _alerts() -> Iterator[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        told, wait = rule["annotations"], f", for {rule['for']}" if "for" in rule else ""
        summary = re.sub(r"{{ \$(?:labels\.)?(\w+) }}", r"*\1*", told["summary"])
        about = f"{summary}. {told['description']}"
        yield f"### {rule['alert']}\n\n{about} ({rule['labels']['severity']}{wait})\n\n{block(rule['expr'], 'promql')}"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(map(code, metric._labelnames))  # noqa: SLF001 - told nowhere else
            yield code(name), family.type, labels, family.documentation
