"""How results look: tables and colours on a terminal, plain columns elsewhere, JSON where it is asked for."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Where nobody looks at a terminal nothing is cut or wrapped: what reads it wants whole lines.
PLAIN_WIDTH = 10_000
WIDE = 110
SHORT_ID = 8
# What is left of a column that may go on in the next line.
LEAST_WIDTH = 14

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

STYLES = {
    "completed": "green",
    "complete": "green",
    "success": "green",
    "running": "cyan",
    "created": "cyan",
    "skipped": "dim",
    "pending": "dim",
    "suspended": "yellow",
    "suspend": "yellow",
    "waiting": "yellow",
    "awaiting_callback": "yellow",
    "failed": "red",
    "api_unavailable": "red",
    "inconsistent_data": "red",
    "aborted": "magenta",
    "abort": "magenta",
    "rejected": "magenta",
}


def console(*, stderr: bool = False) -> Console:
    """A console for standard output or error; NO_COLOR and COLUMNS are honoured, but for no columns at all."""
    # What authors and senders have written is shown as it is: brackets are no markup, and :100: is no picture.
    made = Console(stderr=stderr, highlight=False, soft_wrap=False, markup=False, emoji=False)
    if os.environ.get("COLUMNS", "0") == "0" and not made.is_terminal:
        made.width = PLAIN_WIDTH
    elif made.width < 1:
        made.width = get_terminal_size().columns
    return made


def print_json(value: Any) -> None:
    """Print `value` as one indented JSON document."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=not _any_letter()))


def print_line(value: Any) -> None:
    """Print `value` as one line of JSON, at once."""
    print(json.dumps(value, default=str, ensure_ascii=not _any_letter()), flush=True)


def _any_letter() -> bool:
    """Whether standard output takes every letter there is."""
    return str(getattr(sys.stdout, "encoding", "utf-8")).lower().startswith("utf")


def show(value: Any, render: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print `value` as JSON if that is asked for, else what `render` makes of it."""
    if as_json:
        print_json(value)
        return
    emit(render())


def emit(rendered: RenderableType) -> None:
    """Print to standard output; elsewhere than on a terminal no line ends with blanks."""
    screen = console()
    if screen.is_terminal:
        screen.print(rendered)
        return
    with screen.capture() as captured:
        screen.print(rendered)
    for line in captured.get().splitlines():
        print(line.rstrip(), flush=True)


def say(sentence: str) -> None:
    """Print one sentence; long ones go on in the next line on a terminal."""
    emit(Text(sentence))


def note(sentence: str) -> None:
    """Print one sentence to standard error, beside the result."""
    console(stderr=True).print(Text(sentence, style="dim"))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[RenderableType]],
    *,
    wrap: Collection[str] = (),
    cut: Collection[str] = (),
) -> Table:
    """A table with a line under its head on a terminal, plain columns elsewhere.

    Where there is no room, columns in `wrap` go on in the next line and those in `cut` end early; the others stay.
    """
    terminal = console().is_terminal
    made = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    lines = [list(row) for row in rows]
    for number, column in enumerate(columns):
        longest = max([len(column), *(_length(line[number]) for line in lines)])
        gives_way = column in wrap or column in cut
        made.add_column(
            column,
            no_wrap=column not in wrap,
            overflow="fold" if column in wrap else "ellipsis",
            min_width=min(longest, LEAST_WIDTH) if gives_way else longest,
        )
    for line in lines:
        made.add_row(*line)
    return made


def _length(cell: RenderableType) -> int:
    return cell_len(cell.plain if isinstance(cell, Text) else str(cell))


def facts(pairs: Iterable[tuple[str, RenderableType | None]]) -> Table:
    """Names and values below each other; those that are None are left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            made.add_row(name, value)
    return made


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, style=STYLES.get(status, ""))


def moment(value: Any) -> str:
    """A point in time in the operator's own time zone, to the second; `-` where there is none."""
    found = as_time(value)
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S") if found else "-"


def as_time(value: Any) -> datetime | None:
    """The time a JSON text or a database value stands for."""
    if value is None:
        return None
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def duration(begin: Any, end: Any) -> str:
    """How long it took, as 0.4 s, 12 s, 3 min 20 s, 2 h 5 min or 3 d 4 h."""
    first, last = as_time(begin), as_time(end)
    if first is None or last is None:
        return "-"
    return lasting((last - first).total_seconds())


def lasting(seconds: float) -> str:
    """A number of seconds in the two units that say enough."""
    if seconds < 10:  # noqa: PLR2004  # where tenths mean something
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def shown_id(process_id: Any) -> str:
    """An id: whole where there is room for it or a program reads, else its unique beginning."""
    return str(process_id) if is_wide() else str(process_id)[:SHORT_ID]


def short_ids(text: str) -> str:
    """A text for a narrow column, in which ids are their beginnings."""
    return text if console().width == PLAIN_WIDTH else _UUID.sub(lambda found: found[0][:SHORT_ID], text)


def brief_moment(value: Any) -> str:
    """A point in time where there is little room: without year and seconds."""
    return moment(value) if is_wide() or as_time(value) is None else moment(value)[5:16]


def is_wide() -> bool:
    """Whether a line has room for everything."""
    return console().width >= WIDE


@contextmanager
def working(sentence: str) -> Iterator[Callable[[str], None]]:
    """Show that something is under way while the block runs; yields a function that changes the sentence."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda _: None
        return
    # As a Text: a plain one would be taken for markup here, whatever the console says.
    with screen.status(Text(sentence)) as status:
        yield lambda words: status.update(Text(words))
