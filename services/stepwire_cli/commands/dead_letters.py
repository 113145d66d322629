"""`stepwire dlq`."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Json, User

app = typer.Typer(
    help="Dead letters: records nobody could use, in the topics that end with .dlq.", no_args_is_help=True
)

Topic = Annotated[str | None, typer.Option(help="Only of this topic, such as callbacks.")]
Error = Annotated[str | None, typer.Option(help="Only with this word in x-error, such as malformed.")]
Letter = Annotated[str, typer.Argument(metavar="LETTER", help="Its id, as `stepwire dlq list` shows it.")]
Letters = Annotated[list[str] | None, typer.Argument(metavar="LETTER", help="Ids, as `stepwire dlq list` shows them.")]
Every = Annotated[bool, typer.Option("--all", help="All that `list` shows with the same --topic and --error.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list", epilog="Example: stepwire dlq list --topic callbacks --error malformed")
def list_letters(
    *,
    topic: Topic = None,
    error: Error = None,
    hidden: Annotated[bool, typer.Option("--discarded", help="Also those that were discarded or replayed.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Only the newest so many of each partition.")] = 100,
    as_json: Json = False,
) -> None:
    """Show dead letters that nobody has replayed or discarded, the newest first."""
    from stepwire_cli import letter_office

    wanted = letter_office.Wanted(topic, error, hidden=hidden, limit=limit)
    letter_office.show_all(wanted, as_json=as_json)


@app.command("show", epilog="Example: stepwire dlq show callbacks.dlq:3:17")
def show_letter(letter: Letter, *, as_json: Json = False) -> None:
    """Show one dead letter: why it is one, where it came from, its key, headers and value."""
    from stepwire_cli import letter_office

    letter_office.show_one(letter, as_json=as_json)


@app.command("replay", epilog="Example: stepwire dlq replay callbacks.dlq:3:17")
def replay(  # noqa: PLR0913  # one option per filter
    letters: Letters = None,
    *,
    every: Every = False,
    topic: Topic = None,
    error: Error = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    yes: Yes = False,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Send dead letters to the topic they came from, key and value as they were; that it was done is remembered."""
    from stepwire_cli import letter_office

    wanted = letter_office.Wanted(topic, error, ids=tuple(letters or ()), every=every)
    letter_office.replay(wanted, letter_office.Consent(user, ask=not (yes or as_json)), again=again, as_json=as_json)


@app.command("discard", epilog="Example: stepwire dlq discard --all --topic callbacks --reason 'a test of the vendor'")
def discard(  # noqa: PLR0913  # one option per filter
    letters: Letters = None,
    *,
    every: Every = False,
    topic: Topic = None,
    error: Error = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept beside it.")] = None,
    yes: Yes = False,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Hide dead letters from the list; the records stay in Kafka until its retention removes them."""
    from stepwire_cli import letter_office

    wanted = letter_office.Wanted(topic, error, ids=tuple(letters or ()), every=every)
    letter_office.discard(wanted, letter_office.Consent(user, ask=not (yes or as_json)), reason, as_json=as_json)
