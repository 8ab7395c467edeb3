"""Draw a sample of a month and write it down: recordings, drafts, cases, and what transcribers are to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from evaluation.cases import CASES, Case, serialise_cases
from evaluation.sample_copies import SampleCopies, Write
from evaluation.sample_instructions import REFERENCES_NOTE, instructions
from evaluation.sample_rows import Population, read_population
from evaluation.sampling import Stratum, draw
from evaluation.strata import attributes_of
from tasks.dataset import DataSet
from tasks.errors import SettingsError
from tasks.samples import REFERENCES, reference_path
from tasks.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """What is to be drawn: `n` calls of `month`, by these things, with this seed, with drafts or without."""

    month: str
    n: int
    by: tuple[str, ...]
    seed: str
    drafts: bool = True


@dataclass
class Sample:
    """What was drawn.

    Attributes:
        request: what was asked for.
        population: the calls of the month.
        strata: what was drawn from.
        cases: the calls that are in the sample, with their weights, in the order in which to transcribe them.
        replaced: calls that were drawn and cannot be had, by call_id, and why.
    """

    request: SampleRequest
    population: Population
    strata: tuple[Stratum, ...]
    cases: list[Case] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)

    @property
    def not_covered(self) -> int:
        """Calls of strata of which no recording could be had."""
        there = {case.stratum for case in self.cases}
        return sum(stratum.calls for stratum in self.strata if stratum.name not in there)


def draw_sample(
    data: DataSet, archive: Storage, request: SampleRequest, write: Write, say: Callable[[str], None] = lambda _: None
) -> Sample:
    """Draw a sample, and write all its files; `cases.jsonl` is the last one.

    A recording that is gone, or no longer the one that was transcribed, gives its place to the next call of its
    stratum. Erased calls are passed over.

    Args:
        data: the data set.
        archive: where the recordings lie.
        request: what to draw.
        write: writes a file.
        say: told what is being done.

    Raises:
        SettingsError: there is no such month, it has too few calls, or none of the recordings.
        QueryError: the data set cannot be read.
        StorageUnavailable, StorageRefused: a store does not answer, or says no.
    """
    if data.shards(request.month) is None:
        months = ", ".join(data.months()) or "none at all"
        message = f"nothing of {request.month} was ever planned in {data.storage.uri}; it has months: {months}"
        raise SettingsError(message)
    say(f"reading the calls of {request.month}")
    population = read_population(data.storage, request.month, request.by)
    _require_enough(population, request, data.storage.uri)
    strata = draw(population.cells, request.by, request.n, request.seed)
    copies = SampleCopies(data, request.month, archive, strata, write, say, drafts=request.drafts)
    had = copies.had()
    sample = Sample(request, population, strata, replaced=copies.replaced)
    language = next((name for name, _ in population.languages.most_common(1)), "en")
    placed: list[tuple[float, str, Case]] = []
    for stratum in strata:
        weight = stratum.calls / max(1, len(had[stratum.name]))
        cases = [_case(row, paths, stratum.name, weight, language) for row, paths in had[stratum.name]]
        placed += [(place / len(cases), stratum.name, case) for place, case in enumerate(cases)]
    # Of every stratum first the first ones: whoever works in this order may stop anywhere.
    sample.cases = [case for *_, case in sorted(placed, key=lambda one: one[:2])]
    if not sample.cases:
        why = next(iter(sample.replaced.values()), "")
        message = f"of no call that was drawn the recording can be had ({why}): is {archive.uri} their archive?"
        raise SettingsError(message)
    text = instructions(request.month, len(sample.cases), drafts=request.drafts)
    write("README.md", text.encode())
    write(f"{REFERENCES}/README.txt", REFERENCES_NOTE.encode())
    write("sample.json", (json.dumps(_told(sample), indent=2) + "\n").encode())
    write(CASES, serialise_cases(sample.cases).encode())
    return sample


def _require_enough(population: Population, request: SampleRequest, uri: str) -> None:
    if missing := [name for name in attributes_of(request.by) if name not in population.seen]:
        message = (
            f"no call of {request.month} in {uri} has an attribute {missing[0]!r}; beside attributes, --by takes "
            "language, snr, duration and confidence"
        )
        raise SettingsError(message)
    if population.calls < request.n:
        message = (
            f"{request.month} has {population.calls:,} calls that can be drawn ({population.failed:,} failed), fewer "
            f"than the {request.n:,} that --n asks for"
        )
        raise SettingsError(message)


def _case(row: Mapping[str, Any], paths: tuple[str, ...], stratum: str, weight: float, language: str) -> Case:
    return Case(
        call_id=row["call_id"],
        audio=paths,
        references=(reference_path(row["call_id"]),),
        language=row["language"] or language,
        channel_roles=tuple(row["channel_roles"] or ()),
        stratum=stratum,
        weight=weight,
    )


def _told(sample: Sample) -> dict[str, Any]:
    """How it was drawn; no call is named here, nor what its attributes are."""
    request, population = sample.request, sample.population
    return {
        "month": request.month,
        "by": list(request.by),
        "seed": request.seed,
        "n": request.n,
        "drawn": len(sample.cases),
        "strata": len(sample.strata),
        "calls": population.calls,
        "failed": population.failed,
        "text_removed": population.text_removed,
        "unnamable": population.unnamable,
        "replaced": len(sample.replaced),
        "not_covered": sample.not_covered,
        "drafts": request.drafts,
        "drawn_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
