"""Provisioning of network nodes: workflows, their tables and migrations, an outside system, and a demo of them all."""
