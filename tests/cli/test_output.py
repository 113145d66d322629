"""What is printed is what authors and senders have written."""

from __future__ import annotations

import pytest

from stepwire_cli.output import PLAIN_WIDTH, console, emit, facts, note, say, table, working

WRITTEN = "Read [/etc/hosts] of [bold]pool:100:"


def test_brackets_are_no_markup_and_words_no_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    """In tables, sentences and facts: a name must neither vanish nor end the command."""
    for shown in (table(["Step"], [[WRITTEN]]), f"Released {WRITTEN}.", facts([("Step", WRITTEN)])):
        emit(shown)
    say(WRITTEN)
    note(WRITTEN)
    told = capsys.readouterr()
    assert [told.out.count(WRITTEN), told.err.count(WRITTEN)] == [4, 1]


def test_nor_are_they_while_something_is_under_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal shows a sentence and another one."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with working(WRITTEN) as tell:
        tell(f"{WRITTEN} again")
    assert WRITTEN in capsys.readouterr().err


@pytest.mark.parametrize(("columns", "width"), [("0", PLAIN_WIDTH), ("30", 30)])
def test_no_columns_are_no_width(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    """Some say so where nobody knows how many there are; nothing at all would be shown."""
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width
