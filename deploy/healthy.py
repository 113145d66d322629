"""The health check of every image: exits 0 when the service inside says that it is ready."""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException

ANSWER_SECONDS = 4.0
READY = 200


def main() -> int:
    """Ask /health/ready on the port in HEALTH_PORT."""
    connection = HTTPConnection("127.0.0.1", int(os.environ["HEALTH_PORT"]), timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        print(answer.read().decode())
    except (OSError, HTTPException) as error:
        print(error)
        return 1
    return 0 if answer.status == READY else 1


if __name__ == "__main__":
    sys.exit(main())
