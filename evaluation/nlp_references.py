"""A tagged reference as lines and entities. Pure.

Each turn is a line. Times are in the file or unknown: then a line starts and ends at 0. Entities that only say how a
word is written (`CONTRACTION`, `FALLBACK`) are left out; they are in the class WER (`evaluation.entity_alignment`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import PurePath
from typing import Final

from evaluation.ctm_format import CtmWord
from evaluation.entity_classes import class_of
from evaluation.fields import ReferenceFileError
from evaluation.formats import ReferenceEntity, StmLine
from evaluation.nlp_format import NlpDocument, NlpToken, entity_ids, parse_nlp, parse_norm, parse_wer_tags
from evaluation.spoken import SCALES
from evaluation.values import CURRENCIES

_NO_ENTITIES: Final = frozenset({"CONTRACTION", "FALLBACK"})


def read_document(name: str, files: Mapping[str, str]) -> NlpDocument:
    """Parse an `.nlp` file with the sidecars of its name, `NAME.wer_tag.json` and `NAME.norm.json`.

    Args:
        name: of the file.
        files: name → content of all files of the set.

    Raises:
        ReferenceFileError: one of them is malformed, or nothing says what an entity is.
    """
    tokens = parse_nlp(files[name], name)
    stem = str(PurePath(name).with_suffix(""))
    types, ways = f"{stem}.wer_tag.json", f"{stem}.norm.json"
    untyped = (entity for token in tokens for entity in entity_ids(token) if entity not in dict(token.tags))
    if types not in files and (entity := next(untyped, None)) is not None:
        raise ReferenceFileError(name, None, f"{types}, which says what entity {entity} is, is missing")
    return NlpDocument(
        tokens,
        parse_wer_tags(files[types], types) if types in files else {},
        parse_norm(files[ways], ways) if ways in files else {},
    )


def reference_of(call_id: str, document: NlpDocument) -> tuple[tuple[StmLine, ...], tuple[ReferenceEntity, ...]]:
    """Take the lines and the entities of a call out of an `.nlp` file."""
    lines = []
    for speaker, run in groupby(document.tokens, key=lambda token: token.speaker):
        turn = tuple(run)
        start, end = _times(turn)
        text = " ".join(token.text + token.punctuation for token in turn)
        lines.append(StmLine(call_id, 1, speaker or "speaker", start or 0.0, end or start or 0.0, text))
    entities = []
    for first, end, kind in _entity_spans(document):
        tokens = document.tokens[first:end]
        text = " ".join(token.text + token.punctuation for token in tokens)
        text = text.removesuffix(tokens[-1].punctuation)
        entities.append(ReferenceEntity(kind, text, tokens[0].speaker or None, *_times(tokens)))
    return tuple(lines), tuple(entities)


def timed_words(call_id: str, document: NlpDocument) -> tuple[CtmWord, ...]:
    """Take the words of a call that have times out of an `.nlp` file; none where it has no times."""
    return tuple(
        CtmWord(call_id, 1, token.start, token.end, token.text)
        for token in document.tokens
        if token.start is not None and token.end is not None
    )


def _entity_spans(document: NlpDocument) -> list[tuple[int, int, str]]:
    """Give first token, end and type of what is looked for by value.

    "25" and the "million" or "cents" behind it, which are tagged apart, are one number; an entity within another of its
    type is no second one.
    """
    tokens, units = document.tokens, {*SCALES, *CURRENCIES}
    scales = [token.text.lower() in units for token in tokens]
    spans: list[tuple[int, int, str]] = []
    for entity in document.entities:
        first, end = entity.first, entity.end
        if class_of(entity.type) in {"number", "money"}:
            if scales[first] and first and tokens[first - 1].text[-1].isdecimal():
                continue
            while end < len(tokens) and scales[end] and not tokens[end - 1].punctuation:
                end += 1
        if entity.type not in _NO_ENTITIES:
            spans.append((first, end, entity.type))
    widest = sorted(dict.fromkeys(spans), key=lambda span: (span[0], -span[1]))
    reached: dict[str, int] = {}
    kept = []
    for first, end, kind in widest:
        if end > reached.get(kind, 0):
            kept.append((first, end, kind))
            reached[kind] = end
    return kept


def _times(tokens: tuple[NlpToken, ...]) -> tuple[float | None, float | None]:
    """Give the first start and the last end that are known."""
    starts = [token.start for token in tokens if token.start is not None]
    ends = [token.end for token in tokens if token.end is not None]
    return min(starts, default=None), max(ends, default=None)
