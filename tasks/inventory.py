"""What is in the archive for a month: a listing under the month's prefix, each key read by the key template."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from tasks.errors import SettingsError
from tasks.records import CallHints, CallRef
from tasks.setting_groups import ArchiveSettings
from tasks.storage import ObjectInfo, Storage

_FIELD = re.compile(r"\{(\w+)\}")
_PATTERNS = {
    "year": r"[0-9]{4}",
    "month": r"[0-9]{2}",
    "day": r"[0-9]{2}",
    "hour": r"[0-9]{2}",
    "minute": r"[0-9]{2}",
    "second": r"[0-9]{2}",
    "ext": r"[^./]+",
}
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a month of the archive holds, or the part of it that is one shard.

    `calls` have a call_id of their own. `ambiguous` holds those whose call_id several objects claim.
    """

    month: str
    calls: tuple[CallRef, ...]
    ambiguous: tuple[tuple[CallRef, ...], ...]

    @property
    def call_ids(self) -> frozenset[str]:
        """Every call_id that an object claims."""
        return frozenset(call.call_id for call in self.calls) | {group[0].call_id for group in self.ambiguous}


def check_month(month: str) -> str:
    """The month itself, when it is one.

    Raises:
        SettingsError: it is not `YYYY-MM`.
    """
    if not _MONTH.fullmatch(month):
        message = f"month must be YYYY-MM, such as 2026-10; got {month!r}"
        raise SettingsError(message)
    return month


def previous_month(now: datetime) -> str:
    """The month before the one that `now` lies in, as `YYYY-MM`."""
    year, month = (now.year, now.month - 1) if now.month > 1 else (now.year - 1, 12)
    return f"{year:04d}-{month:02d}"


def months_between(months: str) -> list[str]:
    """The months that `2025-01..2026-09`, or one month, means, in order.

    Raises:
        SettingsError: it is neither, or ends before it begins.
    """
    first, dots, last = months.partition("..")
    check_month(first)
    if dots:
        check_month(last)
    begin, end = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (first, last or first))
    if end < begin:
        message = f"months {months!r} end before they begin"
        raise SettingsError(message)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(begin, end + 1)]


def read_archive(storage: Storage, month: str, settings: ArchiveSettings) -> Iterator[tuple[CallRef | None, str]]:
    """List a month of the archive: each call with its key, and None with each key that the template cannot read.

    Raises:
        StorageRefused: the archive cannot be listed.
    """
    pattern = template_pattern(settings.key_template)
    hints = settings.hints()
    for info in storage.list(month_prefix(settings.key_template, month)):
        match = pattern.fullmatch(info.key) if _is_text(info.key) else None
        if match is None:
            yield None, info.key
        elif f"{match['year']}-{match['month']}" == month:
            yield _call(storage, info, match.groupdict(), month, hints, settings.timezone), info.key


def group_calls(month: str, calls: Iterable[CallRef]) -> Inventory:
    """Tell apart the calls that have a call_id of their own, and those that share one; in order of call_id."""
    by_id: defaultdict[str, list[CallRef]] = defaultdict(list)
    for call in calls:
        by_id[call.call_id].append(call)
    groups = sorted(by_id.items())
    return Inventory(
        month=month,
        calls=tuple(group[0] for _, group in groups if len(group) == 1),
        ambiguous=tuple(tuple(group) for _, group in groups if len(group) > 1),
    )


def month_prefix(template: str, month: str) -> str:
    """What every key of a month begins with: the template up to its first field that the month does not fix."""
    year, _, number = month.partition("-")
    filled = template.replace("{year}", year).replace("{month}", number)
    return filled.partition("{")[0]


def template_pattern(template: str) -> re.Pattern[str]:
    """The regular expression that reads keys by a key template; every field is a named group.

    A field that is used twice must read the same twice.
    """
    parts: list[str] = []
    seen: set[str] = set()
    position = 0
    for match in _FIELD.finditer(template):
        parts.append(re.escape(template[position : match.start()]))
        name = match[1]
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_PATTERNS.get(name, '[^/]+')})")
        seen.add(name)
        position = match.end()
    parts.append(re.escape(template[position:]))
    return re.compile("".join(parts))


def _is_text(key: str) -> bool:
    """Whether a key is Unicode: a folder may hold names in an old encoding, which no table and no hash can take."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _call(
    storage: Storage, info: ObjectInfo, fields: dict[str, str], month: str, hints: CallHints, timezone: str
) -> CallRef:
    known = {*_PATTERNS, "call_id"}
    return CallRef(
        call_id=fields["call_id"],
        month=month,
        key=info.key,
        uri=storage.object_uri(info.key),
        etag=info.etag,
        size_bytes=info.size_bytes,
        started_at=_started_at(fields, timezone),
        hints=hints,
        attributes={name: value for name, value in fields.items() if name not in known},
    )


def _started_at(fields: dict[str, str], timezone: str) -> datetime | None:
    """When the call began, where the key says it to the minute; a bare day is not a time."""
    if not {"day", "hour", "minute"} <= fields.keys():
        return None
    clock = f"{fields['hour']}:{fields['minute']}:{fields.get('second', '00')}"
    try:
        naive = datetime.fromisoformat(f"{fields['year']}-{fields['month']}-{fields['day']}T{clock}")
    except ValueError:
        return None
    return naive.replace(tzinfo=ZoneInfo(timezone))


def duplicate_message(group: Iterable[CallRef]) -> str:
    """What the row of a call_id that several objects claim says."""
    keys = ", ".join(call.key for call in group)
    return (
        f"several objects claim this call_id, so none was transcribed: {keys}; tell them apart by archive.key_template"
    )
