"""Second chances: what is suspicious is decoded in other ways, and the best result stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from builders import region, words
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise, track
from speech import UNREAD, heard_chunk, hypothesis, texts

from tasks.heard import HeardChunk
from tasks.hypotheses import FAULTS, Hypothesis, better
from tasks.records import Region
from tasks.second_chances import NO_REPEAT_TOKENS, give_second_chances
from tasks.tracks import Track
from tasks.whisper import Decoding

TIMED, UNREPEATED, HALVED = "timed", "unrepeated", "halved"
REGIONS = (region(0, 4), region(5, 9))
DOUBTFUL = hypothesis("what is this", faults=["unsure"], avg_logprob=-1.5)
LOOP = hypothesis("you " * 9, faults=["repetitive"])
BEST = hypothesis("best of all", avg_logprob=-0.1)
GOOD = hypothesis("good enough", avg_logprob=-0.4)

Answer = Hypothesis | Exception
Script = Mapping[str, Answer | Callable[[HeardChunk], Answer]]


@dataclass
class ScriptedSteps:
    """A recogniser that gives scripted hypotheses, by the way in which a chunk is decoded; what has none fails.

    `decoded` are the ways and chunks that it was asked for, `encoded` the chunks.
    """

    script: Script = field(default_factory=dict)
    decoded: list[tuple[str, HeardChunk]] = field(default_factory=list)
    encoded: list[HeardChunk] = field(default_factory=list)
    unreadable: bool = False

    def decoding(self) -> Decoding:
        """A beam of five."""
        return Decoding(beam_size=5)

    def encode(self, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
        """Remember the chunks."""
        pool.submit(len, load).result()
        for heard in load:
            self.encoded.append(heard)
            heard.encoded = np.full((2, 2), len(self.encoded))
            if self.unreadable:
                heard.encoded, heard.error = None, OSError("gone")

    def decode(self, load: Sequence[HeardChunk]) -> None:
        """Give each chunk that did not fail what is scripted."""
        for heard in load:
            decoding = heard.decoding or self.decoding()
            way = TIMED if decoding.timestamps else UNREPEATED if decoding.no_repeat_ngram_size else HALVED
            if heard.error is not None:
                continue
            assert heard.encoded is not None
            self.decoded.append((way, heard))
            scripted = self.script.get(way, RuntimeError("it broke"))
            found = scripted(heard) if callable(scripted) else scripted
            if isinstance(found, Exception):
                heard.error = found
            else:
                heard.hypothesis = found

    def asked(self, way: str) -> list[HeardChunk]:
        """What was decoded in a way."""
        return [heard for name, heard in self.decoded if name == way]


def doubted(
    found: Hypothesis | None = DOUBTFUL, held: Sequence[Region] = REGIONS, source: Track = UNREAD
) -> HeardChunk:
    """A chunk that was decoded, in German."""
    heard = heard_chunk(*held, track=source, hypothesis=found, language="de")
    heard.encoded = np.zeros((2, 2))
    return heard


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """A worker thread."""
    with ThreadPoolExecutor(1) as found:
        yield found


def half(heard: HeardChunk) -> Hypothesis:
    """A word for each second of a half, named by its time in the call."""
    first, last = round(heard.chunk.start), round(heard.chunk.end)
    return hypothesis(" ".join(f"s{second}" for second in range(first, last)), first, last)


# --------------------------------------------------------------------------------------------------- which chunks


def test_what_is_not_suspicious_is_left_alone(pool: ThreadPoolExecutor) -> None:
    """Neither that, nor what failed, nor what was not decoded is tried again: the recogniser is not even asked."""
    failed = doubted()
    failed.error = OSError("gone")
    load = [doubted(GOOD), failed, doubted(None)]
    steps = ScriptedSteps({TIMED: BEST, UNREPEATED: BEST, HALVED: BEST})
    give_second_chances(steps, load, pool)
    assert ([], []) == (steps.decoded, steps.encoded)
    assert [GOOD, DOUBTFUL, None] == [heard.hypothesis for heard in load]
    assert not any(heard.retried or heard.improved for heard in load)


def test_nothing_to_try(pool: ThreadPoolExecutor) -> None:
    """An empty load."""
    give_second_chances(ScriptedSteps(), [], pool)


def test_only_the_suspicious_are_tried(pool: ThreadPoolExecutor) -> None:
    """Between others, each in its own place and language, in all ways."""
    load = [doubted(GOOD), doubted(), doubted(GOOD), doubted()]
    load[3].language = "en"
    steps = ScriptedSteps({TIMED: BEST, HALVED: GOOD})
    give_second_chances(steps, load, pool)
    assert [GOOD, BEST, GOOD, BEST] == [heard.hypothesis for heard in load]
    assert [False, True, False, True] == [heard.retried for heard in load]
    assert [False, True, False, True] == [heard.improved for heard in load]
    assert ["de", "en"] == [heard.language for heard in steps.asked(TIMED)]
    assert ["de", "de", "en", "en"] == [heard.language for heard in steps.asked(HALVED)]


def test_repeats_are_forbidden_where_there_is_a_loop(pool: ThreadPoolExecutor) -> None:
    """Only there: elsewhere people may say the same again."""
    load = [doubted(), doubted(LOOP), doubted(hypothesis(faults=["unsure", "repetitive"]))]
    steps = ScriptedSteps({TIMED: DOUBTFUL, UNREPEATED: BEST, HALVED: DOUBTFUL})
    give_second_chances(steps, load, pool)
    assert 2 == len(steps.asked(UNREPEATED))
    assert [DOUBTFUL, BEST, BEST] == [heard.hypothesis for heard in load]
    assert 0 < NO_REPEAT_TOKENS


# ---------------------------------------------------------------------------------------------------------- ways


@pytest.mark.parametrize("best", [TIMED, UNREPEATED])
@pytest.mark.parametrize("others", [GOOD, DOUBTFUL, LOOP, RuntimeError("it broke")], ids=str)
def test_the_best_way_wins(pool: ThreadPoolExecutor, best: str, others: Answer) -> None:
    """Whichever it is, and whatever becomes of the others."""
    heard = doubted(LOOP)
    give_second_chances(
        ScriptedSteps({**dict.fromkeys([TIMED, UNREPEATED, HALVED], others), best: BEST}), [heard], pool
    )
    assert (BEST, True, True) == (heard.hypothesis, heard.retried, heard.improved)


def test_halves_may_win(pool: ThreadPoolExecutor) -> None:
    """When what they give together is better than what any way gives of the whole."""
    heard = doubted(LOOP)
    give_second_chances(ScriptedSteps({TIMED: DOUBTFUL, UNREPEATED: LOOP, HALVED: half}), [heard], pool)
    assert (True, True) == (heard.retried, heard.improved)
    assert heard.hypothesis is not None
    assert "s0 s1 s2 s3 s5 s6 s7 s8" == heard.hypothesis.text


@pytest.mark.parametrize("worse", [LOOP, DOUBTFUL, hypothesis("so so", faults=["unsure", "too_fast"])], ids=str)
def test_what_came_first_stands_where_nothing_is_better(pool: ThreadPoolExecutor, worse: Hypothesis) -> None:
    """It was tried again, and was not improved."""
    heard = doubted()
    give_second_chances(ScriptedSteps({TIMED: worse, HALVED: worse}), [heard], pool)
    assert heard.hypothesis is DOUBTFUL
    assert (True, False) == (heard.retried, heard.improved)


FOUND = st.one_of(
    st.builds(
        hypothesis,
        faults=st.sets(st.sampled_from(["unsure", "repetitive", "too_fast"])).map(sorted),
        avg_logprob=st.sampled_from([-1.2, -0.3, -0.1]),
    ),
    st.just(RuntimeError("it broke")),
)


@given(first=FOUND.filter(lambda found: isinstance(found, Hypothesis)), timed=FOUND, unrepeated=FOUND, halved=FOUND)
@settings(deadline=None)
def test_nothing_gets_worse(first: Hypothesis, timed: Answer, unrepeated: Answer, halved: Answer) -> None:
    """What stands is the first or better than it, and no whole chunk that was decoded otherwise is better."""
    heard = doubted(first)
    steps = ScriptedSteps({TIMED: timed, UNREPEATED: unrepeated, HALVED: halved})
    with ThreadPoolExecutor(1) as pool:
        give_second_chances(steps, [heard], pool)
    assert heard.error is None
    assert first.suspicious == heard.retried
    assert heard.improved == better(first, heard.hypothesis) == (heard.hypothesis is not first)
    for way, found in ((TIMED, timed), (UNREPEATED, unrepeated)):
        if isinstance(found, Hypothesis) and steps.asked(way):
            assert not better(heard.hypothesis, found)


# ------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("unreadable", [False, True])
def test_a_way_that_fails_is_no_failure_of_the_chunk(pool: ThreadPoolExecutor, unreadable: bool) -> None:
    """It keeps what it had, and goes on."""
    heard = doubted(LOOP)
    steps = ScriptedSteps(unreadable=unreadable)
    give_second_chances(steps, [heard], pool)
    assert (LOOP, None, True, False) == (heard.hypothesis, heard.error, heard.retried, heard.improved)
    assert heard.encoded is not None


def test_sound_that_cannot_be_read_any_more(pool: ThreadPoolExecutor) -> None:
    """To part a chunk without pauses it is read: where that fails, the other ways are left."""
    whole = [region(0, 9)]
    load = [doubted(DOUBTFUL, whole), doubted(DOUBTFUL, whole)]
    give_second_chances(ScriptedSteps({TIMED: BEST}), load, pool)
    assert [(BEST, None), (BEST, None)] == [(heard.hypothesis, heard.error) for heard in load]


@pytest.mark.parametrize("broken_s", [0, 5])
def test_one_half_alone_is_no_way(pool: ThreadPoolExecutor, broken_s: int) -> None:
    """Half of the words are not better than all of them."""
    heard = doubted()
    error = RuntimeError("it broke")
    steps = ScriptedSteps({HALVED: lambda part: error if part.chunk.start == broken_s else half(part)})
    give_second_chances(steps, [heard], pool)
    assert (2, DOUBTFUL, False) == (len(steps.asked(HALVED)), heard.hypothesis, heard.improved)


# ---------------------------------------------------------------------------------------------------------- halves


def test_halves_are_joined_in_order(pool: ThreadPoolExecutor) -> None:
    """All words of both, measures of both together, in the language of the whole."""
    heard = doubted()
    measures = {0: (-0.2, 0.3, 1.1), 5: (-0.8, 0.1, 1.7)}
    text = {0: "one two three four five six", 5: "seven eight"}

    def answer(part: HeardChunk) -> Hypothesis:
        at = round(part.chunk.start)
        avg_logprob, no_speech_prob, ratio = measures[at]
        return replace(
            hypothesis(text[at], part.chunk.start, part.chunk.end, language=part.language),
            avg_logprob=avg_logprob,
            no_speech_prob=no_speech_prob,
            compression_ratio=ratio,
        )

    give_second_chances(ScriptedSteps({HALVED: answer}), [heard], pool)
    found = heard.hypothesis
    assert found is not None
    assert (*words(text[0], 0, 4), *words(text[5], 5, 9)) == found.words
    assert "one two three four five six seven eight" == found.text
    assert pytest.approx((6 * -0.2 + 2 * -0.8) / 8) == found.avg_logprob
    assert (0.3, 1.7, "de", ()) == (found.no_speech_prob, found.compression_ratio, found.language, found.faults)


def test_halves_together_may_have_faults(pool: ThreadPoolExecutor) -> None:
    """They are judged as a whole: what neither half hears is missed."""
    heard = doubted(LOOP)

    def answer(part: HeardChunk) -> Hypothesis:
        return hypothesis("yes no", part.chunk.start, part.chunk.start + 1)

    give_second_chances(ScriptedSteps({HALVED: answer}), [heard], pool)
    assert heard.hypothesis is not None
    assert ("sparse", "missed_speech") == heard.hypothesis.faults
    assert pytest.approx(2 * 2.7) == heard.hypothesis.missed_s


def test_a_half_may_be_silent(pool: ThreadPoolExecutor) -> None:
    """Nothing said in one of them leaves no gap in the text."""
    heard = doubted(LOOP)
    silent = Hypothesis((), "", "de", -0.1, 0.9, 0.0)
    steps = ScriptedSteps({HALVED: lambda part: silent if part.chunk.start == 0 else half(part)})
    give_second_chances(steps, [heard], pool)
    assert heard.hypothesis is not None
    assert ("s5 s6 s7 s8", "s5 s6 s7 s8".split()) == (heard.hypothesis.text, texts(heard.hypothesis.words))


@pytest.mark.parametrize(
    ("language", "expected"), [("ja", "もしもしはい"), ("zh", "もしもしはい"), ("ko", "もしもし はい")]
)
def test_halves_are_joined_as_the_language_is_written(pool: ThreadPoolExecutor, language: str, expected: str) -> None:
    """With a space between, where there are spaces."""
    heard = doubted(LOOP)
    heard.language = language
    steps = ScriptedSteps({HALVED: lambda part: hypothesis("もしもし" if part.chunk.start == 0 else "はい", 0, 1)})
    give_second_chances(steps, [heard], pool)
    assert heard.hypothesis is not None
    assert expected == heard.hypothesis.text


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # To the middle of the sound.
        (DOUBTFUL, [2, 1]),
        # To where the longest stretch of voice without words begins.
        (hypothesis("one", 0.0, 1.0, faults=["missed_speech"], missed_s=4.0), [1, 2]),
        (hypothesis("one two three", 0.0, 6.0, faults=["missed_speech"], missed_s=1.7), [2, 1]),
        # What is too short to count decides nothing.
        (hypothesis("one", 0.0, 1.0, faults=["unsure"]), [2, 1]),
    ],
)
def test_where_halves_are_parted(pool: ThreadPoolExecutor, found: Hypothesis, expected: list[int]) -> None:
    """At the nearest pause; all regions are in one half or the other."""
    held = [region(0, 1), region(2, 6), region(7, 9)]
    steps = ScriptedSteps({TIMED: DOUBTFUL, HALVED: DOUBTFUL})
    give_second_chances(steps, [doubted(found, held)], pool)
    halves = [part.chunk.regions for part in steps.asked(HALVED)]
    assert expected == [len(part) for part in halves]
    assert held == [one for part in halves for one in part]


def test_a_chunk_without_a_pause_is_halved(pool: ThreadPoolExecutor) -> None:
    """Near its middle; each half is encoded anew, and the whole is not."""
    heard = doubted(DOUBTFUL, [region(0, 8)], track(noise(1, 8.0)))
    steps = ScriptedSteps({TIMED: DOUBTFUL, HALVED: DOUBTFUL})
    give_second_chances(steps, [heard], pool)
    one, other = steps.asked(HALVED)
    assert [one, other] == steps.encoded
    assert 2.0 < one.chunk.end == other.chunk.start < 6.0
    assert steps.asked(TIMED)[0].encoded is heard.encoded


def test_a_chunk_too_short_for_halves(pool: ThreadPoolExecutor) -> None:
    """It is decoded in the other ways."""
    heard = doubted(DOUBTFUL, [region(0, 0.3)])
    steps = ScriptedSteps({TIMED: BEST})
    give_second_chances(steps, [heard], pool)
    assert (BEST, [], []) == (heard.hypothesis, steps.asked(HALVED), steps.encoded)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_deserves_a_second_chance(pool: ThreadPoolExecutor, fault: str) -> None:
    """Whichever it is."""
    heard = doubted(hypothesis(faults=[fault]))
    give_second_chances(ScriptedSteps({TIMED: BEST}), [heard], pool)
    assert (BEST, True, True) == (heard.hypothesis, heard.retried, heard.improved)
