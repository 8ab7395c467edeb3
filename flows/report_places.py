"""Where the flow `evaluate` writes a report: a page, JSON and tables at URIs, each written whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self
from urllib.parse import unquote

from evaluation.figure_tables import parquet_files
from evaluation.report import Report
from tasks.errors import SettingsError
from tasks.storage import Storage, StorageOptions, open_storage

Form = Literal["html", "json", "parquet"]
_EXAMPLES: Mapping[Form, str] = {
    "html": "s3://bucket/reports/2026-11.html",
    "json": "s3://bucket/reports/2026-11.json",
    "parquet": "s3://bucket/reports/2026-11",
}


class Place(NamedTuple):
    """A file, or of tables a folder, in the store that it lies in."""

    storage: Storage
    key: str

    @classmethod
    def at(cls, form: Form, uri: str, options: StorageOptions) -> Self:
        """Find the place of a URI, and make sure that its store is there, before any work is done.

        Args:
            form: what is to be written there, for the message.
            uri: such as `s3://bucket/reports/2026-11.html`; of tables, a folder.
            options: how to reach S3.

        Raises:
            SettingsError: it is no URI of a file in a bucket or a folder.
            StorageRefused: there is no such bucket or folder.
        """
        folder, _, name = (uri.rstrip("/") if form == "parquet" else uri).rpartition("/")
        if "://" not in folder or folder.endswith("/") or not name:
            raise SettingsError(f"{form}_uri: {uri!r} is no place for a report; give a URI such as {_EXAMPLES[form]}")
        storage = open_storage(folder, options)
        storage.check()
        return cls(storage, unquote(name) if uri.startswith("file:") else name)

    @property
    def uri(self) -> str:
        """Its URI."""
        return self.storage.object_uri(self.key)


def places_of(uris: Mapping[Form, str | None], options: StorageOptions) -> dict[Form, Place]:
    """The places that are given.

    Raises:
        SettingsError, StorageRefused: as `Place.at` says.
    """
    return {form: Place.at(form, uri, options) for form, uri in uris.items() if uri is not None}


def write_report(report: Report, places: Mapping[Form, Place], page: str, *, words: bool) -> dict[str, str]:
    """Write a report in the forms that are asked for.

    Args:
        report: with its figures.
        places: where; forms without a place are not written.
        page: the report as HTML.
        words: whether the words of missed entities may be in the JSON.

    Returns:
        form → URI of what was written.

    Raises:
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one write.
    """
    for form, (storage, key) in places.items():
        if form == "html":
            storage.put(key, page.encode())
        elif form == "json":
            storage.put(key, report.to_json(spoken=words).encode())
        else:
            for name, content in parquet_files(report):
                storage.put(f"{key}/{name}", content)
    return {form: place.uri for form, place in places.items()}
