"""A manifest of the archive: a file that names the calls, where their keys do not say enough.

Parquet, CSV or JSON lines, by the ending of its name; read row by row, never held. Columns: `call_id` and `uri`, and,
as far as they are known, `started_at, month, language, languages, channel_roles, speakers, hot_words, etag` and
`size_bytes`; all others are carried along as attributes of the call.

A call whose channels lie in mono files of their own has a list of them for its `uri`, and maybe for `etag` and
`size_bytes`; or, where a cell holds no list, columns `uri_0`, `uri_1` and so on in place of `uri` (`etag_0`, …).
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.errors import ObjectVanished, ScratchFull, SettingsError
from tasks.legs import MAX_LEGS
from tasks.records import CallHints
from tasks.scratch import scratch_folder
from tasks.storage import Storage
from tasks.tables import parquet_rows

ENDINGS = ("parquet", "csv", "jsonl")
# More people are in no call, and more bytes in no object (a pebibyte); the tables could not hold any number.
MAX_SPEAKERS = 10_000
MAX_SIZE_BYTES = 2**50
# Years in which calls were recorded; others are mistakes, and no month would ever have them.
FIRST_YEAR, LAST_YEAR = 1970, 2199
# What a row may say of each file of a call, in a list or in a column for each channel.
OF_FILES = ("uri", "etag", "size_bytes")
_OF_CHANNEL = re.compile(r"uri_(?:0|[1-9][0-9]*)")


class ManifestRow(BaseModel):
    """One row: one call, in one file or in a file for each channel.

    `etag` and `size_bytes` are as long as `uri`, or empty where the row says nothing of them.
    """

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    call_id: str = Field(min_length=1)
    uri: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1, max_length=MAX_LEGS)
    started_at: datetime | None = None
    month: str | None = Field(None, pattern=r"^(19[7-9][0-9]|2[01][0-9]{2})-(0[1-9]|1[0-2])$")
    language: str | None = Field(None, pattern=r"^[a-z]{2,3}$")
    languages: tuple[str, ...] | None = None
    channel_roles: tuple[str, ...] | None = None
    speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS)
    hot_words: tuple[str, ...] = ()
    etag: tuple[str | None, ...] = ()
    size_bytes: tuple[Annotated[int, Field(ge=0, le=MAX_SIZE_BYTES)] | None, ...] = ()

    @field_validator(*OF_FILES, mode="before")
    @classmethod
    def _of_each_file(cls, value: object) -> object:
        """A list may be written as JSON; `;`, which other lists may have between their parts, may be part of a key."""
        if isinstance(value, str) and value.startswith("["):
            with suppress(json.JSONDecodeError):  # else a key, which begins like a list
                value = json.loads(value)
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _of_all_files(self) -> Self:
        """What is said of files is said of as many as there are."""
        if any(said and len(said) != len(self.uri) for said in (self.etag, self.size_bytes)):
            message = "etag and size_bytes are lists of the same length as uri"
            raise ValueError(message)
        return self

    @field_validator("started_at", mode="before")
    @classmethod
    def _no_number(cls, value: object) -> object:
        """A number would be taken for seconds since 1970: 20261005 for a day of that year."""
        if not isinstance(value, (str, date)) or (isinstance(value, str) and _is_number(value)):
            message = "must be a date and time of day, such as 2026-10-05T09:30:00+02:00"
            raise ValueError(message)
        return value

    @field_validator("started_at")
    @classmethod
    def _of_our_time(cls, value: datetime | None) -> datetime | None:
        if value is not None and not FIRST_YEAR <= value.year <= LAST_YEAR:
            message = f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _all_text(self) -> Self:
        """What is not Unicode no table can take; values of known columns were looked at already."""
        for name, value in self.attributes.items():
            name.encode()
            value.encode()
        return self

    @field_validator("languages", "channel_roles", "hot_words", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """A list may be written as JSON, or with `;` between its parts, as CSV has no lists."""
        if not isinstance(value, str):
            return value
        if value.startswith("["):
            return json.loads(value)
        return [part.strip() for part in value.split(";") if part.strip()]

    def hints(self, default: CallHints) -> CallHints:
        """What the row knows of the call, and the archive's own hints for the rest."""
        return CallHints(
            language=self.language or default.language,
            channel_roles=default.channel_roles if self.channel_roles is None else self.channel_roles,
            speakers=self.speakers or default.speakers,
            languages=default.languages if self.languages is None else self.languages,
            hot_words=self.hot_words or default.hot_words,
        )

    @property
    def attributes(self) -> dict[str, str]:
        """The columns that have no meaning of their own."""
        return {name: str(value) for name, value in (self.model_extra or {}).items() if value is not None}


@dataclass(frozen=True)
class ManifestFile:
    """A manifest that lies on scratch disk: read from its beginning as often as is asked for.

    While rows are taken, `SettingsError` may be raised: it cannot be read to its end; the message names the place.
    """

    path: Path
    uri: str
    name: str
    kind: str

    def rows(self) -> Iterator[tuple[str, ManifestRow | None]]:
        """The rows, each with its place (`calls.csv, row 17`); None in the place of one that is no call."""
        for place, values in self._values():
            yield place, _row(values)

    def has_lists(self) -> bool:
        """Whether a row may name several files for one call."""
        return any(_has_list(values) for _, values in self._values())

    def _values(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        number = count(1)
        place = self.name
        try:
            for values in _READERS[self.kind](self.path):
                place = f"{self.name}, row {next(number)}"
                yield place, values
        except (ValueError, OverflowError, csv.Error) as error:
            message = f"archive.manifest {self.uri} cannot be read after {place}: {error}"
            raise SettingsError(message) from error


@contextmanager
def open_manifest(storage: Storage, key: str) -> Iterator[ManifestFile]:
    """Have a manifest on scratch disk.

    Args:
        storage: where the manifest lies.
        key: of it.

    Raises:
        SettingsError: it is not there, or of another kind.
        StorageRefused: the store says no, or the scratch disk has no room for it.
    """
    name = key.rpartition("/")[2]
    kind = name.rpartition(".")[2].lower()
    if kind not in ENDINGS:
        message = f"archive.manifest {storage.object_uri(key)} must end in {', '.join(f'.{one}' for one in ENDINGS)}"
        raise SettingsError(message)
    with scratch_folder() as folder:
        path = folder / "manifest"
        try:
            storage.download(key, path)
        except ObjectVanished as error:
            message = f"there is no archive.manifest {storage.object_uri(key)}"
            raise SettingsError(message) from error
        except ScratchFull as error:  # not one call's failure, but the run's: `scratch_folder` says what to do
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        yield ManifestFile(path, storage.object_uri(key), name, kind)


def month_of(row: ManifestRow, default: str | None, timezone: ZoneInfo) -> str | None:
    """The month of a call: as the row says, that of the manifest, or by when it began; None where none is known.

    Args:
        row: of the manifest.
        default: the month that the manifest is named for; None: it is of all months.
        timezone: of the archive.
    """
    if row.month is not None or default is not None:
        return row.month or default
    if row.started_at is not None:
        return f"{in_zone(row.started_at, timezone).astimezone(timezone):%Y-%m}"
    return None


def in_zone(moment: datetime, timezone: ZoneInfo) -> datetime:
    """A moment; one without a time zone is of the archive's."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone)


def _row(values: Mapping[str, Any]) -> ManifestRow | None:
    known = {name: value for name, value in values.items() if value not in (None, "")}
    try:
        return ManifestRow.model_validate(_with_lists(known))
    except (ValueError, RecursionError):  # ValidationError is one of the former; the latter of brackets in brackets
        return None


def _has_list(values: Mapping[str, Any]) -> bool:
    uri = values.get("uri")
    return not isinstance(uri, str) or not uri or uri.startswith("[")


def _with_lists(known: dict[str, Any]) -> dict[str, Any]:
    """A row with lists in the place of columns for each channel (`uri_0`, …).

    Raises:
        ValueError: a channel is left out, or the row has both.
    """
    channels = [name.removeprefix("uri_") for name in known if _OF_CHANNEL.fullmatch(name)]
    if not channels:
        return known
    numbers = [str(number) for number in range(len(channels))]
    if set(channels) != set(numbers) or not known.keys().isdisjoint(OF_FILES):
        message = (
            "uri_0, uri_1 and so on name the files of all channels, and take the place of uri, etag and size_bytes"
        )
        raise ValueError(message)
    columns = {name: [f"{name}_{number}" for number in numbers] for name in OF_FILES}
    lists = {name: [known.get(column) for column in own] for name, own in columns.items()}
    taken = {column for own in columns.values() for column in own}
    rest = {name: value for name, value in known.items() if name not in taken}
    return rest | {name: said for name, said in lists.items() if any(one is not None for one in said)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        _require_columns(reader.fieldnames or ())
        for row in reader:
            row.pop("", None)  # what stands behind the last column has no name
            yield row


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                raise
            except (RecursionError, ValueError):  # JSON, but of more brackets or digits than are read: no call
                row = {}
            if not isinstance(row, dict):
                message = "a line is no JSON object"
                raise ValueError(message)  # noqa: TRY004  # what was read is wrong, and not our type
            yield row


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    names, rows = parquet_rows(path)
    _require_columns(names)
    return iter(rows)


def _require_columns(names: Iterable[str]) -> None:
    given = {"uri" if name == "uri_0" else name for name in names}
    missing = [name for name in ("call_id", "uri") if name not in given]
    if missing:
        message = f"it has no column {' and no column '.join(missing)}"
        raise ValueError(message)


_READERS = {"csv": _csv_rows, "jsonl": _json_rows, "parquet": _parquet_rows}
