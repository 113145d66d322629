"""Allows `python -m stepwire_cli`."""

from __future__ import annotations

from stepwire_cli.main import main

if __name__ == "__main__":
    main()
