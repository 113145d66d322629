"""What operators do with dead letters: list, show, replay, discard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.settings import Settings
from stepwire.contracts.reasons import DeadLetter
from stepwire_cli.errors import Failed, WrongUsage, near
from stepwire_cli.letters import Letter, Letters, Place, open_letters
from stepwire_cli.options import confirm, user_or_login
from stepwire_cli.output import brief_moment, facts, moment, show, table, working
from stepwire_cli.places import operator_settings

_ID = re.compile(r"(?P<topic>.+)\.dlq:(?P<partition>\d{1,9}):(?P<offset>\d{1,18})")
# So many letters are looked at when all are meant.
MOST = 10_000
# In a list; `show` has all of both.
KEY_SHOWN, VALUE_SHOWN = 36, 60


@dataclass(frozen=True)
class Wanted:
    """Which letters are meant, in the words of the command line."""

    topic: str | None = None
    error: str | None = None
    ids: Sequence[str] = ()
    every: bool = False
    hidden: bool = False
    limit: int = MOST

    def __post_init__(self) -> None:
        words = [word.value for word in DeadLetter]
        if self.error is not None and self.error not in words:
            raise WrongUsage(f"{self.error!r} is no word for what is wrong with a letter{near(self.error, words)}")


@dataclass(frozen=True)
class Consent:
    """Who wants it done, and whether to ask before."""

    user: str | None
    ask: bool

    def asked(self, question: str) -> None:
        """Ask on a terminal; somebody who says no has not changed anything."""
        if self.ask:
            confirm(question)


def show_all(wanted: Wanted, *, as_json: bool) -> None:
    """Print the letters that are `wanted`."""
    found = asyncio.run(_find(operator_settings(), wanted))
    show([_document(letter) for letter in found], lambda: _rendered(found), as_json=as_json)


def show_one(text: str, *, as_json: bool) -> None:
    """Print one letter as a whole."""
    letter = asyncio.run(_find(operator_settings(), Wanted(ids=(text,))))[0]
    document = {**_document(letter), "value": letter.value.decode(errors="replace"), "headers": _headers(letter)}
    show(document, lambda: _described(letter), as_json=as_json)


def replay(wanted: Wanted, consent: Consent, *, again: bool, as_json: bool) -> None:
    """Send letters to where they came from."""
    settings = operator_settings()
    found = _chosen(settings, wanted, again=again)
    for letter in found:
        _check_replayable(letter, again=again)
    consent.asked(f"Send {_count(found)} again?")
    with working(f"sending {_count(found)}"):
        asyncio.run(_replay(settings, found, user_or_login(consent.user)))
    _tell("replayed", found, "Sent again", as_json=as_json)


def discard(wanted: Wanted, consent: Consent, reason: str | None, *, as_json: bool) -> None:
    """Hide letters."""
    settings = operator_settings()
    found = _chosen(settings, wanted)
    consent.asked(f"Hide {_count(found)}? The records stay in Kafka until its retention removes them.")
    asyncio.run(_discard(settings, found, user_or_login(consent.user), reason))
    _tell("discarded", found, "Hidden", as_json=as_json)


def _chosen(settings: Settings, wanted: Wanted, *, again: bool = False) -> list[Letter]:
    if not wanted.ids and not wanted.every:
        raise WrongUsage("name the letters by their ids, or say --all; `stepwire dlq list` shows them.")
    if wanted.ids and (wanted.every or wanted.topic or wanted.error):
        raise WrongUsage("name letters by their ids, or choose them with --all, --topic and --error, not both.")
    with working("looking at the dead letters"):
        found = asyncio.run(_find(settings, wanted))
    # The oldest was meant to come first; what cannot be sent whole is passed over where nobody named it.
    return [letter for letter in reversed(found) if wanted.ids or again or not letter.cut]


async def _find(settings: Settings, wanted: Wanted) -> list[Letter]:
    async with open_letters(settings) as letters:
        known = await letters.topics()
        if wanted.topic is not None and wanted.topic.removesuffix(".dlq") not in known:
            raise WrongUsage(f"there are no dead letters of a topic {wanted.topic!r}{near(wanted.topic, known)}")
        if wanted.ids:
            return await _by_ids(letters, wanted.ids, known)
        boxes = [wanted.topic.removesuffix(".dlq")] if wanted.topic else known
        found = await letters.newest(boxes, wanted.limit)
    return [letter for letter in found if _is_wanted(letter, wanted)]


async def _by_ids(letters: Letters, ids: Sequence[str], known: Sequence[str]) -> list[Letter]:
    places = [_place(text, known) for text in dict.fromkeys(ids)]
    found = await letters.at(places)
    missing = dict(zip(dict.fromkeys(ids), places, strict=True))
    for letter in found:
        missing.pop(letter.id, None)
    if missing:
        raise Failed(f"there is no dead letter {next(iter(missing))}; it may be gone by Kafka's retention.")
    return list(reversed(found))


def _place(text: str, known: Sequence[str]) -> Place:
    match = _ID.fullmatch(text)
    if match is None:
        raise WrongUsage(f"{text!r} is no id of a dead letter; write it as callbacks.dlq:3:17, as the list shows it.")
    if match["topic"] not in known:
        raise WrongUsage(f"there is no topic {match['topic']}.dlq{near(match['topic'], list(known))}")
    return Place(match["topic"], int(match["partition"]), int(match["offset"]))


def _is_wanted(letter: Letter, wanted: Wanted) -> bool:
    if not wanted.hidden and letter.actions:
        return False
    return wanted.error is None or letter.error == wanted.error


def _check_replayable(letter: Letter, *, again: bool) -> None:
    if letter.cut:
        size = letter.header("x-length")
        raise Failed(f"{letter.id} was too large to be kept: {len(letter.value)} of its {size} bytes are there.")
    before = letter.was("replay")
    if before is not None and not again:
        when = moment(before.done_at or before.begun_at)
        raise Failed(f"{letter.id} was replayed by {before.done_by} at {when} before; say --again if you mean it.")


async def _replay(settings: Settings, found: Sequence[Letter], user: str) -> None:
    producer = Producer(settings)
    await producer.start()
    try:
        async with open_letters(settings) as letters:
            for letter in found:
                # Noted before it is sent: a crash between leaves a replay that may have happened, never an unknown one.
                number = await letters.begin(letter, "replay", user)
                record = Outgoing(letters.original_topic(letter), letter.value, letter.key, letter.own_headers)
                await producer.send(record)
                await letters.end(number)
    finally:
        await producer.stop()


async def _discard(settings: Settings, found: Sequence[Letter], user: str, reason: str | None) -> None:
    async with open_letters(settings) as letters:
        for letter in found:
            await letters.end(await letters.begin(letter, "discard", user, reason))


def _tell(key: str, found: Sequence[Letter], words: str, *, as_json: bool) -> None:
    ids = [letter.id for letter in found]
    sentence = f"{words}: {', '.join(ids)}." if ids else "There are no such dead letters."
    show({key: ids}, lambda: Text(sentence), as_json=as_json)


def _document(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "topic": letter.topic,
        "error": letter.error,
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "size": len(letter.value),
        "time": letter.header("x-time") or _time(letter).isoformat(),
        "origin": f"{letter.topic}:{letter.header('x-partition')}:{letter.header('x-offset')}",
        "actions": [action._asdict() for action in letter.actions],
    }


def _rendered(found: Sequence[Letter]) -> RenderableType:
    if not found:
        return "There are no dead letters like that."
    actions = any(letter.actions for letter in found)
    columns = ["Letter", "Error", "Time", "Key", "Since then" if actions else "Value"]
    rows = [_row(letter, with_actions=actions) for letter in found]
    return table(columns, rows, wrap=["Since then"], cut=["Key", "Value"])


def _row(letter: Letter, *, with_actions: bool) -> list[RenderableType]:
    value = Text(_printable(letter.value).replace("\n", " ")[:VALUE_SHOWN], style="dim")
    return [
        letter.id,
        Text(letter.error, style="red"),
        brief_moment(_time(letter)),
        Text(_printable(letter.key or b"")[:KEY_SHOWN]),
        _done(letter) if with_actions else value,
    ]


def _described(letter: Letter) -> RenderableType:
    origin = f"{letter.topic}, partition {letter.header('x-partition')}, offset {letter.header('x-offset')}"
    about = facts(
        [
            ("Letter", Text(letter.id)),
            ("Error", Text(letter.error, style="red")),
            ("Came from", Text(origin)),
            ("Time", Text(moment(_time(letter)))),
            ("Key", Text(_printable(letter.key)) if letter.key is not None else None),
            ("Size", Text(f"{len(letter.value)} bytes" + (f" of {letter.header('x-length')}" if letter.cut else ""))),
            *((f"  {name}", Text(text)) for name, text in _headers(letter).items() if not name.startswith("x-")),
            ("Since then", _done(letter) if letter.actions else None),
        ]
    )
    return Group(about, Text(), Text(_printable(letter.value)))


def _done(letter: Letter) -> Text:
    return Text("; ".join(f"{_word(each)} by {each.done_by} {moment(each.begun_at)}" for each in letter.actions))


def _word(action: Any) -> str:
    words = {"replay": "replayed", "discard": "discarded"}[action.action]
    return words if action.done_at else f"perhaps {words}"


def _headers(letter: Letter) -> dict[str, str]:
    return {name: value.decode(errors="replace") for name, value in letter.headers}


def _printable(raw: bytes) -> str:
    """Text for a terminal: what is no text, or would steer the terminal, is shown as what it is."""
    return "".join(
        each if each.isprintable() or each == "\n" else f"\\x{ord(each):02x}" for each in raw.decode(errors="replace")
    )


def _count(found: Sequence[Letter]) -> str:
    return "1 dead letter" if len(found) == 1 else f"{len(found)} dead letters"


def _time(letter: Letter) -> datetime:
    return datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC)
