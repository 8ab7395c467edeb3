"""A manifest of the archive: a file that names the calls, where their keys do not say enough.

Parquet, CSV or JSON lines, by the ending of its name; read row by row, never held. Columns: `call_id` and `uri`, and,
as far as they are known, `started_at, month, language, languages, channel_roles, speakers, hot_words, etag` and
`size_bytes`; all others are carried along as attributes of the call.
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.errors import ObjectVanished, ScratchFull, SettingsError
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


class ManifestRow(BaseModel):
    """One row: one call."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    call_id: str = Field(min_length=1)
    uri: str = Field(min_length=1)
    started_at: datetime | None = None
    month: str | None = Field(None, pattern=r"^(19[7-9][0-9]|2[01][0-9]{2})-(0[1-9]|1[0-2])$")
    language: str | None = Field(None, pattern=r"^[a-z]{2,3}$")
    languages: tuple[str, ...] | None = None
    channel_roles: tuple[str, ...] | None = None
    speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS)
    hot_words: tuple[str, ...] = ()
    etag: str | None = None
    size_bytes: int | None = Field(None, ge=0, le=MAX_SIZE_BYTES)

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


def read_manifest(storage: Storage, key: str) -> Iterator[tuple[str, ManifestRow | None]]:
    """The rows of a manifest, each with its place (`calls.csv, row 17`); None in the place of one that is no call.

    Args:
        storage: where the manifest lies.
        key: of it.

    Raises:
        SettingsError: it is not there, of another kind, or cannot be read to its end; the message names the place.
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
        number = count(1)
        place = name
        try:
            for values in _READERS[kind](path):
                place = f"{name}, row {next(number)}"
                yield place, _row(values)
        except (ValueError, OverflowError, csv.Error) as error:
            message = f"archive.manifest {storage.object_uri(key)} cannot be read after {place}: {error}"
            raise SettingsError(message) from error


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
        return ManifestRow.model_validate(known)
    except (ValidationError, RecursionError):  # the latter of brackets in brackets
        return None


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
    missing = [name for name in ("call_id", "uri") if name not in names]
    if missing:
        message = f"it has no column {' and no column '.join(missing)}"
        raise ValueError(message)


_READERS = {"csv": _csv_rows, "jsonl": _json_rows, "parquet": _parquet_rows}
