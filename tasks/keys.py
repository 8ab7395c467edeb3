"""How keys of the archive are read: by a template, or by a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from tasks.setting_groups import ArchiveSettings

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
_KNOWN = frozenset({*_PATTERNS, "call_id"})


@dataclass(frozen=True, slots=True)
class ReadKey:
    """What a key says of its call.

    `month` is `YYYY-MM`, as the key has it; `attributes` are the fields that have no meaning of their own.
    """

    call_id: str
    month: str
    started_at: datetime | None
    attributes: Mapping[str, str]


class KeyReader:
    """Reads the keys of an archive.

    Args:
        settings: template or regular expression, how call_ids are built, time zone.
    """

    def __init__(self, settings: ArchiveSettings) -> None:
        self._pattern = re.compile(settings.key_pattern or template_pattern(settings.key_template))
        self._prefix = settings.key_prefix if settings.key_pattern else settings.key_template
        self._call_id = settings.call_id_template
        self._timezone = ZoneInfo(settings.timezone)

    def prefix(self, month: str) -> str:
        """What every key of a month begins with; may be empty."""
        return month_prefix(self._prefix, month)

    def read(self, key: str) -> ReadKey | None:
        """What a key says; None where it cannot be read, or is not Unicode, which no table and no hash can take."""
        match = self._pattern.fullmatch(key) if _is_text(key) else None
        if match is None:
            return None
        # A group of a regular expression may have taken no part.
        fields = {name: value for name, value in match.groupdict().items() if value is not None}
        if not {"year", "month", "call_id"} <= fields.keys():
            return None
        call_id = _FIELD.sub(lambda field: fields.get(field[1], ""), self._call_id)
        return ReadKey(
            call_id=call_id,
            month=f"{fields['year']}-{fields['month']}",
            started_at=self._started_at(fields),
            attributes={name: value for name, value in fields.items() if name not in _KNOWN},
        )

    def _started_at(self, fields: Mapping[str, str]) -> datetime | None:
        """When the call began, where the key says it to the minute; a bare day is not a time."""
        if not {"day", "hour", "minute"} <= fields.keys():
            return None
        clock = f"{fields['hour']}:{fields['minute']}:{fields.get('second', '00')}"
        try:
            naive = datetime.fromisoformat(f"{fields['year']}-{fields['month']}-{fields['day']}T{clock}")
        except ValueError:
            return None
        return naive.replace(tzinfo=self._timezone)


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


def fields_of(template: str) -> list[str]:
    """The fields of a template, in order.

    Raises:
        ValueError: one of them is no name.
    """
    odd = [name for name in re.findall(r"\{(.*?)\}", template) if not name.isidentifier()]
    if odd:
        message = f"fields are named by letters, digits and _, not {braced(odd)}"
        raise ValueError(message)
    return _FIELD.findall(template)


def braced(names: Iterable[str]) -> str:
    """Fields as a template has them."""
    return ", ".join("{" + name + "}" for name in names)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
