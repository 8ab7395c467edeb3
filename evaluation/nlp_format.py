"""The entity-tagged references of Earnings-21 and fstalign: `.nlp`, `.wer_tag.json`, `.norm.json`. Pure.

An `.nlp` file is a table between pipes, one token per line: `token|speaker|ts|endTs|punctuation|case|tags|wer_tags`.
`tags` holds `['3:YEAR']`, an entity that may be said in several ways, `wer_tags` holds `['13', '3']`, all entities that
the token is part of. What type an entity has stands in the `.wer_tag.json` of the same name, in what other words it may
be said in the `.norm.json`. Columns are found by their names; all but `token` may be missing. Source: fstalign,
docs/NLP-Format.md, and the README of Earnings-21 (Del Rio et al. 2021).

`evaluation.nlp_references` makes a reference of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from evaluation.fields import ReferenceFileError

COLUMNS: Final = ("token", "speaker", "ts", "endTs", "punctuation", "case", "tags", "wer_tags")
UNKNOWN: Final = "unknown"
"""The type of an entity that the sidecar does not name; such are in Earnings-21."""

_LIST: Final = re.compile(r"\[(?:'[^']*'(?:, ?'[^']*')*)?\]")


@dataclass(frozen=True, slots=True)
class NlpToken:
    """A line of an `.nlp` file; `tags` are (entity, type), `start` and `end` None where they are not known."""

    text: str
    speaker: str = ""
    start: float | None = None
    end: float | None = None
    punctuation: str = ""
    case: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    wer_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NlpEntity:
    """Tokens `first` up to `end` (excluded) that are one entity."""

    id: str
    type: str
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class NlpDocument:
    """A transcript with its sidecars: entity → type, and entity → in which words it may be said."""

    tokens: tuple[NlpToken, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    ways: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def type_of(self, entity: str, token: NlpToken) -> str:
        """Give the type of an entity of a token: by the sidecar, else by the label in `tags`."""
        return self.types.get(entity) or dict(token.tags).get(entity) or UNKNOWN

    @property
    def entities(self) -> tuple[NlpEntity, ...]:
        """All entities in the order of their first token; one that is interrupted is one for each of its runs."""
        found: list[NlpEntity] = []
        running: dict[str, NlpEntity] = {}
        for at, token in enumerate(self.tokens):
            now: dict[str, NlpEntity] = {}
            for entity in entity_ids(token):
                first = running[entity].first if entity in running else at
                now[entity] = NlpEntity(entity, self.type_of(entity, token), first, at + 1)
            found += [ended for entity, ended in running.items() if entity not in now]
            running = now
        return tuple(sorted([*found, *running.values()], key=lambda entity: (entity.first, entity.end)))


def entity_ids(token: NlpToken) -> tuple[str, ...]:
    """Give the entities of a token, each once: those of `wer_tags`, then what only `tags` has."""
    return tuple(dict.fromkeys([*token.wer_tags, *(entity for entity, _ in token.tags)]))


def parse_nlp(text: str, source: str = "NLP") -> tuple[NlpToken, ...]:
    """Parse an `.nlp` file; `source` names it in errors.

    Raises:
        ReferenceFileError: there is no header, or a line is malformed.
    """
    head, *lines = text.removeprefix("\ufeff").split("\n")
    columns = head.strip().split("|")
    if "token" not in columns:
        raise ReferenceFileError(source, 1, f"no header with a column `token`: {head[:60]!r}")
    tokens = []
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("|")
        try:
            tokens.append(_token(columns, fields))
        except ValueError as error:
            raise ReferenceFileError(source, number, str(error)) from error
    return tuple(tokens)


def serialise_nlp(tokens: Iterable[NlpToken]) -> str:
    """Write an `.nlp` file with the columns of Earnings-21.

    Raises:
        ValueError: a field holds a pipe or a line break, which the format cannot carry.
    """
    rows = [COLUMNS, *(_row(token) for token in tokens)]
    if bad := next((field for row in rows for field in row if set(field) & set("|\n\r")), None):
        raise ValueError(f"{bad!r} cannot stand in an .nlp file")
    return "".join("|".join(row) + "\n" for row in rows)


def parse_wer_tags(text: str, source: str = "wer_tag") -> dict[str, str]:
    """Parse a `.wer_tag.json` into entity → type.

    Raises:
        ReferenceFileError: the text is no JSON of this form.
    """
    return {entity: str(found["entity_type"]) for entity, found in _entries(text, source, "entity_type")}


def serialise_wer_tags(types: Mapping[str, str]) -> str:
    """Write a `.wer_tag.json`."""
    return json.dumps({entity: {"entity_type": kind} for entity, kind in types.items()}, indent=4)


def parse_norm(text: str, source: str = "norm") -> dict[str, tuple[tuple[str, ...], ...]]:
    """Parse a `.norm.json` into entity → the words in which it may be said; probabilities are passed over.

    Raises:
        ReferenceFileError: the text is no JSON of this form.
    """
    try:
        return {
            entity: tuple(tuple(map(str, way["verbalization"])) for way in found["candidates"])
            for entity, found in _entries(text, source, "candidates")
        }
    except (TypeError, KeyError) as error:
        raise ReferenceFileError(source, None, f"malformed candidates: {error}") from error


def _token(columns: list[str], fields: list[str]) -> NlpToken:
    """Take a token out of its row."""
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} columns, the header has {len(columns)}")
    row = dict(zip(columns, fields, strict=True))
    if not row["token"]:
        raise ValueError("an empty token")
    start, end = (float(row[name]) if row.get(name) else None for name in ("ts", "endTs"))
    tags = []
    for tag in _list(row.get("tags", "")):
        entity, colon, kind = tag.partition(":")
        if not (entity and colon and kind):
            raise ValueError(f"{tag!r} is not of the form ID:TYPE")
        tags.append((entity, kind))
    return NlpToken(
        row["token"], row.get("speaker", ""), start, end, row.get("punctuation", ""), row.get("case", ""),
        tuple(tags), tuple(_list(row.get("wer_tags", "")))
    )  # fmt: skip


def _list(text: str) -> list[str]:
    """Read a list as Python writes it."""
    if text and not _LIST.fullmatch(text):
        raise ValueError(f"{text!r} is no list of tags")
    return re.findall(r"'([^']*)'", text)


def _row(token: NlpToken) -> tuple[str, ...]:
    """Lay a token out in columns."""
    start, end = ("" if time is None else str(time) for time in (token.start, token.end))
    tags = [f"{entity}:{kind}" for entity, kind in token.tags]
    return (
        token.text, token.speaker, start, end, token.punctuation, token.case, _written(tags), _written(token.wer_tags)
    )  # fmt: skip


def _written(items: Iterable[str]) -> str:
    quoted = (f"'{item}'" for item in items)
    return f"[{', '.join(quoted)}]"


def _entries(text: str, source: str, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a sidecar: entity → an object that has a certain key."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReferenceFileError(source, error.lineno, f"no JSON: {error.msg}") from error
    if not isinstance(content, dict):
        raise ReferenceFileError(source, None, "no JSON object")
    for entity, found in content.items():
        if not isinstance(found, dict) or key not in found:
            raise ReferenceFileError(source, None, f"entity {entity} has no `{key}`")
        yield entity, found
