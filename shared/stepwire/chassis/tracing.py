"""Whether there are spans: without STEPWIRE_TRACING nothing of OpenTelemetry is even imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwire.chassis.errors import SettingsError
from stepwire.chassis.settings import Settings

if TYPE_CHECKING:
    from stepwire.chassis.spans import Tracing


def make_tracing(settings: Settings, service: str, instance: str) -> Tracing | None:
    """What makes and exports the spans of a service; None if none are asked for.

    Raises:
        SettingsError: they are asked for, and OpenTelemetry is not installed.
    """
    if not settings.tracing:
        return None
    try:
        from stepwire.chassis.spans import exporting  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingsError(
            f"STEPWIRE_TRACING is on, but {error.name} is not installed; pip install 'stepwire[tracing]'."
        ) from error
    return exporting(service, instance)
