"""The page about metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from reference.markdown import code, table
from stepwire.chassis.metrics import Metrics

_INTRODUCTION = """# Metrics

Every service serves these at `/metrics` on its own port, in the text format of Prometheus. Durations are seconds.
What to alert on is told in [Watch it](../howto/watch.md). Besides them there are Prometheus' own metrics about the
process (`process_*`) and Python (`python_*`). `STEPWIRE_PROMETHEUS=false` switches all of them off.

"""


def page() -> str:
    """All metrics, from the registry the services serve."""
    return _INTRODUCTION + table(("Name", "Kind", "Labels", "Meaning"), sorted(_rows()))


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(map(code, metric._labelnames))  # noqa: SLF001 - told nowhere else
            yield code(name), family.type, labels, family.documentation
