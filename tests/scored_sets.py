"""Scored sets of any size for tests of reports: made up, and the same each time."""

from functools import cache
from random import Random

from evaluation.formats import ReferenceEntity, StmLine
from evaluation.hypotheses import HypothesisUtterance
from evaluation.origin import Compared
from evaluation.references import Reference
from evaluation.report import Report
from evaluation.score import score_set
from evaluation.slices import CallFacts
from tasks.records import Word

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>&\"'{{7*7}}"
SAID = "hello this is Laura you owe one hundred and thirty five dollars thank you for calling good bye".split()
HEARD = {"Laura": "Lorra", "owe": "own", "bye": "buy", "is": ""}


@cache
def scored(
    calls: int,
    *,
    lines: int = 4,
    entities: bool = True,
    nasty: bool = False,
    stratum: str | None = None,
    weight: float = 1.0,
) -> Report:
    """A report of so many calls, some of their words wrong, with figures, slices and advice."""
    random = Random(1)  # noqa: S311  # no secret
    references: dict[str, Reference] = {}
    heard: dict[str, tuple[HypothesisUtterance, ...]] = {}
    facts: dict[str, CallFacts] = {}
    for number in range(calls):
        call_id = f"call-{number:03}{NASTY if nasty else ''}"
        speakers = [f"agent{NASTY if nasty else ''}", "customer"]
        said = tuple(
            StmLine(call_id, 1, speakers[at % 2], 4.0 * at, 4.0 * at + 3.5, " ".join(SAID)) for at in range(lines)
        )
        named = (ReferenceEntity("person", "Laura", None, 0.0, 3.5), ReferenceEntity("amount", "$135", None, 0.0, 3.5))
        references[call_id] = Reference(call_id, lines=said, entities=named if entities else None)
        heard[call_id] = tuple(_heard(line, number, random, nasty=nasty) for line in said)
        facts[call_id] = CallFacts(
            tags=("quiet" if number % 2 else f"loud{NASTY if nasty else ''}",),
            codec="opus" if number % 3 else "pcm_s16le",
            duration_s=4.0 * lines,
            work_s=1.0,
            stratum=stratum,
            weight=weight,
        )
    score = score_set(references, heard, facts=facts)
    compared = {call_id: Compared(references[call_id], heard[call_id]) for call_id in references}
    return Report(f"made up{NASTY if nasty else ''}", score, compared=compared).with_figures()


def _heard(line: StmLine, number: int, random: Random, *, nasty: bool) -> HypothesisUtterance:
    """A line with some words that are heard wrong; of the first call, all that can be."""
    share = 1.0 if number == 0 else 0.3
    texts = [HEARD.get(word, word) if random.random() < share else word for word in line.text.split()]
    kept = [text for text in texts if text] + ([NASTY.replace(" ", "")] if nasty else [])
    step = (line.end - line.start) / len(kept)
    words = tuple(
        Word(text, line.start + at * step, line.start + (at + 1) * step, round(random.uniform(0.3, 1.0), 3))
        for at, text in enumerate(kept)
    )
    return HypothesisUtterance(f"S{line.speaker[0]}", line.start, line.end, " ".join(kept), words)
