"""What all runs of an executor look at before each step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Signals:
    """`draining`: the executor stops. `making_room`: a run waits that must have the executor for itself."""

    draining: bool = False
    making_room: bool = False
