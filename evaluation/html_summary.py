"""What a report says, in sentences for people who do not know the measures. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.entity_classes import CLASSES
from evaluation.figures import Figure, SliceFigures
from evaluation.intervals import FEWEST_CALLS
from evaluation.measures import ALWAYS, REVIEWED
from evaluation.report import Report, written
from evaluation.score import CallScore
from evaluation.time_measures import TIME_MEASURES

PLURALS: Final = {
    "person": "names of people",
    "organisation": "names of organisations",
    "date": "dates",
    "time": "times of day",
    "money": "amounts",
    "number": "numbers",
    "phone": "telephone numbers",
    "id": "numbers of accounts or orders",
    "address": "addresses",
    "product": "names of products",
}
"""The classes of entities as people say them."""

_NEEDS: Final = {
    "cpwer": "needs references that say who speaks",
    "tcpwer": "needs references with times",
    "orcwer": "needs references that say who speaks, and is left out where the set is too large for it",
    "wder": "needs references that say who speaks",
    "der": "needs references that say who speaks when",
    "der_forgiving": "needs references that say who speaks when",
    "speaker_count": "needs references that say who speaks",
    "made_up_words": "needs references with times, the lengths of the recordings, and time in which nobody speaks",
    "lost_words": "needs references with times, and the lengths of the recordings",
    "rtfx": "needs the times that the pipeline took",
    **dict.fromkeys(
        (measure.key for measure in TIME_MEASURES),
        "needs references and transcripts with the times of words",
    ),
    **dict.fromkeys(
        ("entity_recall", "entity_precision", "entity_f1", "entity_wer"),
        "needs references that name what had to be captured",
    ),
    **dict.fromkeys(
        ("calibration_error", "cross_entropy", "area", "errors_caught"),
        "needs transcripts with word probabilities, and words that are right and wrong",
    ),
}
_NOT_WORSE: Final = frozenset({"rtfx"})


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the head of the report: what it is, the number, and between which bounds it lies."""

    title: str
    number: str
    note: str


@dataclass(frozen=True, slots=True)
class Worse:
    """A slice that is clearly worse than the whole: its interval and that of the whole do not overlap."""

    slice: str
    dimension: str
    measure: str
    own: str
    whole: str
    calls: int


def tiles(report: Report) -> tuple[Tile, ...]:
    """The figures that are looked at first."""
    by_key = _by_key(report)
    wanted = (
        ("wer", "words that are wrong"),
        ("entity_recall", "amounts, dates, names captured"),
        ("wder", "words given to the wrong speaker"),
        ("made_up_words", "words made up in silence"),
    )
    return tuple(_tile(by_key[key], title) for key, title in wanted if key in by_key)


def sentences(report: Report) -> tuple[str, ...]:
    """What was found, most important first."""
    by_key, calls = _by_key(report), report.score.calls
    return tuple(
        filter(
            None,
            (
                _words(by_key.get("wer"), calls),
                _entities(report, by_key.get("entity_recall")),
                _speakers(by_key.get("wder")),
                _silence(by_key.get("made_up_words")),
                _transcripts(report),
                _review(by_key.get("errors_caught")),
                _speed(by_key.get("rtfx")),
            ),
        )
    )


def clearly_worse(report: Report) -> tuple[Worse, ...]:
    """Slices that are worse than the whole by intervals that do not overlap: fewer than there may be, and no chance."""
    by_key = _by_key(report)
    found = []
    for one in report.slices:
        for figure in one.figures:
            whole = by_key.get(figure.measure.key)
            if whole is not None and figure.measure.key not in _NOT_WORSE and _is_worse(figure, whole):
                title, own, every = figure.measure.title, _bounded(figure), _bounded(whole)
                found.append(Worse(one.value, one.dimension, title, own, every, one.calls))
    return tuple(found)


def not_measured(report: Report) -> tuple[tuple[str, str], ...]:
    """What there is no figure or no interval of, and why."""
    found = {figure.measure.key for figure in report.figures}
    missing: dict[str, list[str]] = {}
    for measure in ALWAYS:
        if measure.key not in found:
            missing.setdefault(_NEEDS.get(measure.key, "needs references with words"), []).append(measure.title)
    said = [(", ".join(titles), why) for why, titles in missing.items()]
    loose = list(dict.fromkeys(_class_or_title(figure) for figure in report.figures if figure.interval is None))
    if loose:
        why = f"no bounds: fewer than {FEWEST_CALLS} different conversations say anything of them"
        said.append((", ".join(loose), why))
    thin = [f"{one.value} ({one.calls})" for one in report.slices if _thin(one)]
    if thin:
        said.append((f"slices {', '.join(thin)}", f"no bounds: fewer than {FEWEST_CALLS} different conversations each"))
    return tuple(said)


def stands_for(report: Report) -> str:
    """What the set stands for: a month, where it is a weighted sample of one, or nothing but its calls."""
    facts = [call.facts for call in report.score.calls]
    if not any(one.stratum is not None for one in facts):
        return (
            "The calls were not drawn by chance: the figures are those of these calls, and hold for others as far as "
            "they are like them."
        )
    origin = report.origin
    text = (
        f"The calls are a sample, drawn by chance: {len(facts):,} calls stand for "
        f"{sum(one.weight for one in facts):,.0f}"
        " calls, and figures in percent are estimates for all of these."
    )
    if origin.awaited:
        text += f" {_count(origin.awaited, 'call')} of the sample had no reference yet; the others stand for them."
    if origin.uncovered:
        strata = ", ".join(sorted(origin.uncovered))
        text += f" Nothing is known of {sum(origin.uncovered.values()):,.0f} calls, those of {strata}."
    return text


def _words(figure: Figure | None, calls: Sequence[CallScore]) -> str:
    if figure is None or figure.value is None:
        return "How many words are wrong could not be measured: no reference has words."
    errors = [call.words for call in calls]
    kinds = (
        f"{sum(one.substitutions for one in errors):,} replaced by another, {sum(one.deletions for one in errors):,} "
        f"missing, {sum(one.insertions for one in errors):,} too many"
    )
    return f"Of 100 words that were said, {_of_100(figure)}. In the calls that were checked: {kinds}."


def _entities(report: Report, figure: Figure | None) -> str | None:
    counts = report.score.entities.counts
    if not counts.reference or figure is None:
        return None
    classes = [name for name, own in report.score.entities.by_class.items() if own.reference]
    named = [PLURALS.get(name, name) for name in _ordered(classes)]
    what = _listed(named[:4] + (["others"] if len(named) > 4 else []))
    if not counts.missed:
        return f"All {counts.reference:,} {what} that had to be captured were{_bounds_of_100(figure)}."
    said = f"Of {counts.reference:,} {what} that had to be captured, {counts.correct:,} were"
    return f"{said}, and {counts.missed:,} {_was(counts.missed)} missed{_bounds_of_100(figure)}."


def _speakers(figure: Figure | None) -> str | None:
    if figure is None or figure.value is None:
        return None
    given = f"{_number(figure.value)} {_is(figure.value)} given to the wrong speaker"
    return f"Of 100 recognised words, {given}{_bounds(figure)}."


def _silence(figure: Figure | None) -> str | None:
    if figure is None or figure.value is None:
        return None
    if not figure.value:
        return "Where nobody speaks, no word is made up."
    return f"Where nobody speaks, {figure.value:.1f} words are made up per hour of silence."


def _transcripts(report: Report) -> str:
    calls, missing = len(report.score.calls), report.score.untranscribed
    if not missing:
        return f"Every one of the {calls:,} calls has a transcript." if calls > 1 else "The call has a transcript."
    codes = sorted({report.origin.failures[one] for one in missing if one in report.origin.failures})
    why = f" ({', '.join(codes)})" if codes else ""
    these = f"{len(missing):,} of {calls:,} calls {_have(len(missing))}"
    return f"{these} no transcript{why}: all their words count as missing."


def _review(figure: Figure | None) -> str | None:
    if figure is None or figure.value is None:
        return None
    return (
        f"Somebody who listens to the {100 * REVIEWED:g} % of the audio that the system trusts least hears "
        f"{_number(figure.value)} of 100 wrong words{_bounds(figure)}."
    )


def _speed(figure: Figure | None) -> str | None:
    if figure is None or not figure.value:
        return None
    return f"An hour of audio took {60 / figure.value:.1f} minutes of work (RTFx {figure.value:.1f})."


def _is_worse(figure: Figure, whole: Figure) -> bool:
    if figure.interval is None or whole.interval is None:
        return False
    if figure.measure.better == "lower":
        return figure.interval.low > whole.interval.high
    return figure.interval.high < whole.interval.low


def _thin(one: SliceFigures) -> bool:
    """Whether none of its figures has an interval."""
    return all(figure.interval is None for figure in one.figures) and any(
        figure.value is not None for figure in one.figures
    )


def _class_or_title(figure: Figure) -> str:
    name = figure.measure.key.partition(".")[2]
    return f"{PLURALS.get(name, name)} alone" if name else figure.measure.title


def _by_key(report: Report) -> dict[str, Figure]:
    return {figure.measure.key: figure for figure in report.figures}


def _ordered(names: Iterable[str]) -> Iterator[str]:
    """Classes in their usual order, others behind them."""
    return iter(sorted(names, key=lambda name: (CLASSES.index(name) if name in CLASSES else len(CLASSES), name)))


def _tile(figure: Figure, title: str) -> Tile:
    bounds = figure.interval
    if bounds is None:
        return Tile(title, written(figure.value, figure.measure.unit), "no bounds: too few calls")
    if bounds.low == bounds.high:
        return Tile(title, written(figure.value, figure.measure.unit), "alike in all calls: no bounds")
    low, high = (written(one, figure.measure.unit, named=False) for one in (bounds.low, bounds.high))
    return Tile(title, written(figure.value, figure.measure.unit), f"between {low} and {high}")


def _bounded(figure: Figure) -> str:
    bounds, unit = figure.interval, figure.measure.unit
    between = (
        f" ({written(bounds.low, unit, named=False)} to {written(bounds.high, unit, named=False)})" if bounds else ""
    )
    return f"{written(figure.value, unit)}{between}"


def _of_100(figure: Figure) -> str:
    value = figure.value or 0.0
    return f"{_number(value)} {_is(value)} wrong in the transcript{_bounds(figure)}"


def _bounds(figure: Figure) -> str:
    if figure.interval is None:
        return ""
    if figure.interval.low == figure.interval.high:
        return " (alike in all calls, so that there are no bounds)"
    return f" (between {_number(figure.interval.low)} and {_number(figure.interval.high)})"


def _bounds_of_100(figure: Figure) -> str:
    if figure.interval is None:
        return ""
    if figure.interval.low == figure.interval.high:
        return " (alike in all calls, so that there are no bounds: others may miss some)"
    return f" (between {_number(figure.interval.low)} and {_number(figure.interval.high)} of 100 are captured)"


def _number(share: float) -> str:
    """A share as so many of 100: whole numbers from 20 on."""
    number = 100 * share
    return f"{number:.0f}" if number >= 19.95 or abs(number - round(number)) < 0.05 else f"{number:.1f}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _is(share: float) -> str:
    return "is" if _number(share) == "1" else "are"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
