"""`range`, `sort` and `filter` of lists, as orchestrator-core's clients write them.

range=0,50            the first fifty
sort=started_at,desc  pairs of field and direction
filter=last_status,failed-waiting,isTask,false   pairs of field and value; `-` separates alternatives
filter=process_id,0b1e4f2a   the beginning of an id is enough
filter=started_at,>=2026-01-01,started_at,<2026-02-01   times; a bare date is that day
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from stepwire.data.process_lists import SORT_COLUMNS, TIME_COLUMNS, Selection
from stepwire.process.model import Status
from stepwire_gateway.problems import malformed
from stepwire_gateway.times import bounds_of

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
MAX_OFFSET = 2**31

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_BEGINNING = re.compile(r"[0-9a-f]{1,32}", re.IGNORECASE)
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_DIGITS = re.compile(r"[0-9]{1,18}")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_ALIASES = {
    "status": "last_status",
    "workflow": "workflow_name",
    "target": "workflow_target",
    "istask": "is_task",
    "pid": "process_id",
    "id": "process_id",
    "subscription": "subscription_id",
    "subscriptions": "subscription_id",
    "labels": "label",
    "started": "started_at",
    "modified": "last_modified_at",
    "creator": "created_by",
    "notes": "note",
}


def selection(range_: str | None, sorts: Sequence[str], filters: Sequence[str]) -> Selection:
    """Which processes the parameters ask for.

    Raises:
        Problem: they are odd in number, name a field there is not, or have a value that cannot be used.
    """
    chosen = Selection(limit=DEFAULT_LIMIT)
    if range_:
        chosen = _with_range(chosen, range_)
    chosen = replace(chosen, sort=tuple(_sort(sorts)))
    for name, value in _pairs("filter", filters):
        chosen = _filter(chosen, name, value)
    return chosen


def _with_range(chosen: Selection, text: str) -> Selection:
    start, comma, end = text.partition(",")
    if not (comma and _DIGITS.fullmatch(start.strip()) and _DIGITS.fullmatch(end.strip())):
        raise malformed(f"range {text!r} is not written as first,last; for example range=0,50")
    first, last = int(start), int(end)
    if not first <= last <= MAX_OFFSET:
        raise malformed(f"range {text!r} ends before it begins or is too large; for example range=0,50")
    if last - first > MAX_LIMIT:
        raise malformed(f"range {text!r} asks for more than {MAX_LIMIT} processes; ask for them in parts")
    return replace(chosen, offset=first, limit=last - first)


def _sort(sorts: Sequence[str]) -> Iterator[tuple[str, bool]]:
    for name, direction in _pairs("sort", sorts):
        field = _field(name)
        if field not in SORT_COLUMNS:
            raise malformed(f"lists cannot be sorted by {name!r}; use one of {', '.join(SORT_COLUMNS)}")
        if direction.lower() not in ("asc", "desc"):
            raise malformed(f"the direction of sort by {name!r} must be asc or desc, not {direction!r}")
        yield field, direction.lower() == "desc"


def _pairs(parameter: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    words = [word.strip() for text in texts if text for word in text.split(",")]
    if any("\x00" in word for word in words):
        raise malformed(f"{parameter} must not contain NUL")
    if len(words) % 2:
        raise malformed(f"{parameter} must have an even number of values: field,value,field,value")
    return zip(words[::2], words[1::2], strict=True)


def _field(name: str) -> str:
    """The field in our spelling: clients also write isTask or workflowName."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return _ALIASES.get(plain, plain)


def _filter(chosen: Selection, name: str, value: str) -> Selection:
    field = _field(name)
    rule = _RULES.get(field)
    if rule is not None:
        return rule(chosen, value)
    if field not in _TEXTS:
        known = sorted({*_RULES, *_TEXTS})
        raise malformed(f"lists cannot be filtered by {name!r}; use one of {', '.join(known)}")
    return replace(chosen, texts={**chosen.texts, field: _alternatives(value)})


def _alternatives(value: str) -> list[str]:
    """The value as a whole may be meant too: names can have a `-` in them."""
    return list(dict.fromkeys([value, *value.split("-")]))


def _by_status(chosen: Selection, value: str) -> Selection:
    wanted = value.lower().split("-")
    shows_rejected = chosen.rejected or Status.REJECTED in wanted
    return replace(chosen, texts={**chosen.texts, "last_status": wanted}, rejected=shows_rejected)


def _by_task(chosen: Selection, value: str) -> Selection:
    if value.lower() not in _TRUTH:
        raise malformed(f"is_task must be true or false, not {value!r}")
    return replace(chosen, is_task=_TRUTH[value.lower()])


def _by_process(chosen: Selection, value: str) -> Selection:
    if _begins_an_id(value):
        # All ids that begin so lie between these two, which the primary key finds.
        digits = value.replace("-", "")
        return replace(chosen, id_range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
    return replace(chosen, process_ids=_ids("process_id", value))


def _begins_an_id(value: str) -> bool:
    """Digits alone, or as they stand in an id, with its dashes."""
    cut_off = 0 < len(value) < len(_NO_UUID) and _UUID.fullmatch(value + _NO_UUID[len(value) :])
    return bool(cut_off or _BEGINNING.fullmatch(value))


def _by_subscription(chosen: Selection, value: str) -> Selection:
    return replace(chosen, related=_ids("subscription_id", value))


def _by_label(chosen: Selection, value: str) -> Selection:
    key, colon, text = value.partition(":")
    if not colon:
        raise malformed(f"label {value!r} is not written as key:value")
    return replace(chosen, labels={**chosen.labels, key: text})


def _by_note(chosen: Selection, value: str) -> Selection:
    return replace(chosen, notes=(*chosen.notes, value))


def _by_priority(chosen: Selection, value: str) -> Selection:
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise malformed(f"priority must be a whole number, not {value!r}")
    return replace(chosen, texts={**chosen.texts, "priority": [str(int(value))]})


def _by_time(field: str) -> Callable[[Selection, str], Selection]:
    def rule(chosen: Selection, value: str) -> Selection:
        try:
            bounds = bounds_of(value)
        except (ValueError, OverflowError) as error:
            detail = f"{field} must be a date or a time with its zone, such as >=2026-01-01T12:00:00Z, not {value!r}"
            raise malformed(detail) from error
        return replace(chosen, times=(*chosen.times, *((field, *bound) for bound in bounds)))

    return rule


def _ids(name: str, value: str) -> list[UUID]:
    found = _UUID.findall(value)
    if "-".join(found) != value or not found:
        raise malformed(f"{name} must be a UUID, or several with `-` between them, not {value!r}")
    return [UUID(text) for text in found]


_TEXTS = frozenset({"workflow_name", "workflow_target", "last_step", "assignee", "created_by", "reporter"})
_RULES: dict[str, Callable[[Selection, str], Selection]] = {
    "last_status": _by_status,
    "is_task": _by_task,
    "process_id": _by_process,
    "subscription_id": _by_subscription,
    "label": _by_label,
    "note": _by_note,
    "priority": _by_priority,
    **{field: _by_time(field) for field in TIME_COLUMNS},
}
