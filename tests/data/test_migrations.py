"""The history of the database."""

from __future__ import annotations

from alembic.script import ScriptDirectory

from stepwire_cli.migrate import make_config


def test_our_revisions_are_one_history() -> None:
    """Each continues the one before it: two that continue the same would both be last, and no upgrade knew how."""
    script = ScriptDirectory.from_config(make_config())
    (head,) = script.get_heads()
    revisions = [revision.revision for revision in script.iterate_revisions(head, "base")]
    assert sorted(revisions, reverse=True) == revisions
