"""What a report is about: the words that were compared, and where calls, models and settings come from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evaluation.evaluation_set import EvaluationSet
from evaluation.formats import StmLine
from evaluation.hypotheses import HypothesisUtterance
from evaluation.references import Reference
from evaluation.score import lines_said


@dataclass(frozen=True, slots=True)
class Compared:
    """What was said and what was heard in a call, None without a transcript; for people to look at, never for logs."""

    reference: Reference
    utterances: tuple[HypothesisUtterance, ...] | None
    language: str = "en"

    @property
    def said(self) -> tuple[StmLine, ...] | None:
        """What was said, as WER takes it; None where that is not known."""
        return lines_said(self.reference)


class Bundle(NamedTuple):
    """The models of a transcript: the name of their bundle, and its digest, empty where the row has none."""

    name: str
    digest: str = ""

    def __str__(self) -> str:
        """The name and the beginning of the digest, as people compare them."""
        return f"{self.name} {self.digest[:12]}".strip()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the figures of a report come from.

    Attributes:
        place: of the set or the references, and `hypotheses` of what was scored; of a set that was transcribed for it,
            None.
        digest: SHA-256 of the set's cases and references.
        bundles: of the transcripts; `devices`, `recognizers` and `fingerprints` likewise: several, where the
            transcripts were made in several ways.
        awaited: how many calls of a sample have no reference yet.
        uncovered: stratum → calls, of the strata of a sample that none of its calls stands for.
        failures: call_id → code of the error, of calls that failed.
    """

    place: str = ""
    hypotheses: str | None = None
    digest: str | None = None
    bundles: tuple[Bundle, ...] = ()
    devices: tuple[str, ...] = ()
    recognizers: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    awaited: int = 0
    uncovered: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, *, calls: bool = True) -> dict[str, Any]:
        """In JSON's types; no word is in it.

        Args:
            calls: whether the calls that failed are in it, by call_id.
        """
        content = {
            "place": self.place,
            "hypotheses": self.hypotheses,
            "digest": self.digest,
            "bundles": [bundle._asdict() for bundle in self.bundles],
            "devices": list(self.devices),
            "recognizers": list(self.recognizers),
            "fingerprints": list(self.fingerprints),
            "awaited": self.awaited,
            "uncovered": dict(self.uncovered),
        }
        return content | {"failures": dict(self.failures)} if calls else content


def origin_of(
    rows: Iterable[Mapping[str, Any]],
    *,
    place: str,
    known: EvaluationSet | None = None,
    hypotheses: str | None = None,
) -> Origin:
    """Say where figures come from.

    Args:
        rows: of `calls`, those that were scored.
        place: of the set or the references.
        known: the set, where it is one.
        hypotheses: where the transcripts lie, where they were not made for this.
    """
    calls = list(rows)
    bundles = {Bundle(str(one["bundle"]), str(one.get("bundle_digest") or "")) for one in calls if one.get("bundle")}
    return Origin(
        place=place,
        hypotheses=hypotheses,
        digest=known.digest if known else None,
        bundles=tuple(sorted(bundles)),
        devices=_told(calls, "device"),
        recognizers=_told(calls, "recognizer"),
        fingerprints=_told(calls, "fingerprint"),
        awaited=len(known.awaited) if known else 0,
        uncovered=dict(known.uncovered) if known else {},
        failures={
            str(one["call_id"]): str(one.get("error_code") or "failed")
            for one in calls
            if one.get("outcome") == "failed"
        },
    )


def _told(rows: Iterable[Mapping[str, Any]], column: str) -> tuple[str, ...]:
    """The values of a column, each once."""
    return tuple(sorted({str(row[column]) for row in rows if row.get(column)}))
