"""Where the services of the tests find what they import."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_path(*folders: Path) -> str:
    """PYTHONPATH for a service: `folders`, then this project, wherever the tests are started, then what is set."""
    return os.pathsep.join([*map(str, folders), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
