"""What is said of a transcript without a reference."""

import pytest
from builders import region, utterance, word
from hypothesis import given
from hypothesis import strategies as st

from tasks.attribute import UNKNOWN_SPEAKER
from tasks.quality import COVER_MARGIN_S, assess
from tasks.records import Region, Utterance, Word
from tasks.regions import merge

# -------------------------------------------------------------------------------------------------- any calls


def on_grid(numbers: list[tuple[int, int]]) -> tuple[Region, ...]:
    """Disjoint, ordered regions on a grid of half milliseconds, where rounding is hardest."""
    return tuple(merge(Region(start / 2000, (start + length) / 2000) for start, length in numbers))


region_lists = st.lists(st.tuples(st.integers(0, 120_000), st.integers(1, 20_000)), max_size=6).map(on_grid)


@st.composite
def conversations(draw: st.DrawFn) -> list[Utterance]:
    """Utterances of up to three speakers on two channels, ordered and numbered."""
    found = []
    for start, pieces, speaker, channel in draw(
        st.lists(
            st.tuples(
                st.integers(0, 60_000),
                st.lists(st.tuples(st.integers(0, 500), st.integers(0, 900)), min_size=1, max_size=4),
                st.sampled_from(["SPEAKER_00", "SPEAKER_01", UNKNOWN_SPEAKER]),
                st.integers(0, 1),
            ),
            max_size=8,
        )
    ):
        at, held = start, []
        for pause, length in pieces:
            held.append(Word("w", (at + pause) / 1000, (at + pause + length) / 1000, 0.5))
            at += pause + length
        found.append(utterance("w", held[0].start, held[-1].end, speaker, channel=channel, words=tuple(held)))
    found.sort(key=lambda item: (item.start, item.channel))
    return found


@given(region_lists, region_lists, conversations())
def test_coverage_lies_within_speech(
    first: tuple[Region, ...], second: tuple[Region, ...], talk: list[Utterance]
) -> None:
    """Uncovered speech is never negative nor more than the speech there is; words without speech are words."""
    found = assess([first, second], (0, 1), talk)
    assert 0.0 <= found.uncovered_speech_s <= found.speech_s
    assert "-" not in str(found.uncovered_speech_s), "no minus zero in a table"
    assert 0 <= found.unsupported_words <= sum(len(item.words) for item in talk)
    assert bool(found.review_reasons) == found.review
    assert len(set(found.review_reasons)) == len(found.review_reasons)


@given(region_lists, conversations())
def test_more_words_never_uncover_speech(found: tuple[Region, ...], talk: list[Utterance]) -> None:
    """A further utterance can only cover more."""
    talk = [item for item in talk if item.channel == 0]
    less = assess([found], (0,), talk[1:]).uncovered_speech_s
    assert assess([found], (0,), talk).uncovered_speech_s <= less + 0.001


@given(region_lists)
def test_words_over_all_speech_cover_it(found: tuple[Region, ...]) -> None:
    """A word over each region leaves nothing uncovered, and has speech under it."""
    talk = [utterance("w", item.start, item.end, words=(word("w", item.start, item.end),)) for item in found]
    quality = assess([found], (0,), talk)
    assert (0.0, 0) == (quality.uncovered_speech_s, quality.unsupported_words)


# ------------------------------------------------------------------------------------------------------- assess


@pytest.mark.parametrize(
    ("speech", "held", "uncovered_s"),
    [
        ([], [], 0.0),
        ([(0, 10)], [], 10.0),
        ([(0, 10)], [(0, 10)], 0.0),
        ([(0, 10)], [(1, 9)], 0.0),
        ([(0, 10)], [(2, 9)], 1.0),
        ([(0, 10)], [(0, 3), (7, 10)], 2.0),
        ([(0, 10)], [(0, 4), (6, 10)], 0.0),
        ([(0, 10), (20, 25)], [(0, 10)], 5.0),
        ([(0, 10), (20, 25)], [(0, 25)], 0.0),
        ([(0, 10)], [(50, 51)], 10.0),
    ],
    ids=[
        "no speech", "no words", "all", "within the margin", "a second late", "a gap of four seconds",
        "a gap of twice the margin", "a region without words", "one long word", "words elsewhere",
    ],
)  # fmt: skip
def test_uncovered_speech(speech: list[tuple[int, int]], held: list[tuple[int, int]], uncovered_s: float) -> None:
    """Speech that lies farther than a second from every word."""
    assert 1.0 == COVER_MARGIN_S
    talk = [utterance("w", start, end, words=(word("w", start, end),)) for start, end in held]
    found = assess([tuple(region(*item) for item in speech)], (0,), talk)
    assert pytest.approx(uncovered_s) == found.uncovered_speech_s
    assert pytest.approx(sum(end - start for start, end in speech)) == found.speech_s


@pytest.mark.parametrize(
    ("held", "unsupported"),
    [
        ((4.0, 5.0), 0),
        ((1.4, 2.5), 1),
        ((1.6, 2.5), 0),
        ((5.6, 6.3), 0),
        ((5.8, 6.3), 1),
        ((7.0, 8.0), 1),
        ((0.0, 0.5), 1),
    ],
    ids=["inside", "mostly before", "mostly inside", "mostly inside at the end", "mostly after", "after", "before"],
)
def test_words_without_speech(held: tuple[float, float], unsupported: int) -> None:
    """A word whose middle lies outside every region has no speech under it."""
    talk = [utterance("w", *held, words=(word("w", *held),))]
    assert unsupported == assess([(region(2.0, 6.0),)], (0,), talk).unsupported_words


def test_each_channel_is_compared_with_its_own_speech() -> None:
    """A word on one channel covers nothing on the other; channels are those of the file."""
    talk = [utterance("w", 0, 10, channel=2, words=(word("w", 0, 10),))]
    speech = [(region(0, 10),), (region(0, 10),)]
    assert (10.0, 20.0, 0) == _numbers(assess(speech, (1, 2), talk))
    assert (10.0, 10.0, 1) == _numbers(assess([(region(0, 10),), ()], (1, 2), talk))


def _numbers(found: object) -> tuple[float, float, int]:
    return found.uncovered_speech_s, found.speech_s, found.unsupported_words


@pytest.mark.parametrize(
    ("speech", "talk", "reasons"),
    [
        ([(0, 1)], [utterance("a b", 0, 1)], ()),
        ([], [], ()),
        ([(0, 1)], [utterance("a", 0, 1, words=(word("a", 0, 1, 0.59),))], ("low_confidence",)),
        ([(0, 1)], [utterance("a", 0, 1, words=(word("a", 0, 1, 0.6),))], ()),
        ([(0, 20), (40, 43.5)], [utterance("a", 0, 20)], ("uncovered_speech",)),
        ([(0, 20), (40, 42.5)], [utterance("a", 0, 20)], ()),
        ([(0, 50), (70, 74.9)], [utterance("a", 0, 50)], ()),
        ([(0, 50), (70, 76)], [utterance("a", 0, 50)], ("uncovered_speech",)),
        ([(0, 4)], [], ("uncovered_speech",)),
        ([(0, 1)], [utterance("a", 0, 1), utterance("b", 5, 6)], ("unsupported_words",)),
        ([(0, 1)], [utterance("a", 0, 1, compression_ratio=2.41)], ("repetitive_text",)),
        ([(0, 1)], [utterance("a", 0, 1, compression_ratio=2.4)], ()),
        ([(0, 1)], [utterance("a", 0, 1), utterance("b", 0, 1, flags=("unsure",))], ("suspicious_words",)),
        ([(0, 1)], [utterance("a", 0, 1, flags=("repetitive",))], ("repetitive_text", "suspicious_words")),
        ([(0, 1)], [utterance("a", 0, 1, speaker=UNKNOWN_SPEAKER)], ("unknown_speaker",)),
        (
            [(20, 30)],
            [utterance("a", 0, 1, UNKNOWN_SPEAKER, compression_ratio=9.0, words=(word("a", 0, 1, 0.1),))],
            ("low_confidence", "uncovered_speech", "unsupported_words", "repetitive_text", "unknown_speaker"),
        ),
    ],
    ids=[
        "nothing wrong", "nothing at all", "low confidence", "just enough confidence", "3.5 s without words",
        "2.5 s without words", "under a tenth without words", "over a tenth without words", "no words at all",
        "words without speech", "repetition", "no repetition", "a doubt", "a loop", "nobody's word",
        "everything",
    ],
)  # fmt: skip
def test_reasons_for_review(speech: list[tuple[float, float]], talk: list[Utterance], reasons: tuple[str, ...]) -> None:
    """Each reason alone, its bound, and all together."""
    found = assess([tuple(region(*item) for item in speech)], (0,), talk)
    assert reasons == found.review_reasons
    assert bool(reasons) == found.review


@pytest.mark.parametrize(("words", "reasons"), [(0, ()), (1, ("set_aside_text",)), (40, ("set_aside_text",))])
def test_text_that_was_set_aside(words: int, reasons: tuple[str, ...]) -> None:
    """A call in which anything was written where nobody speaks is to be looked at, also where it has no words left."""
    assert reasons == assess([()], (0,), [], set_aside_words=words).review_reasons
    assert reasons == assess([(region(0, 1),)], (0,), [utterance("a", 0, 1)], set_aside_words=words).review_reasons


def test_reasons_of_recording_and_recognition_come_together() -> None:
    """Those of the recording first."""
    found = assess([()], (0,), [], ("damaged_audio",), set_aside_words=2)
    assert ("damaged_audio", "set_aside_text") == found.review_reasons


def test_confidence_is_the_mean_of_words() -> None:
    """Every word counts the same, however long its utterance; without words there is none."""
    talk = [
        utterance("a", 0, 1, words=(word("a", 0, 1, 0.4),)),
        utterance("b c d", 1, 2, words=(word("b", 1, 2, 0.8),) * 3),
    ]
    assert pytest.approx(0.7) == assess([()], (0,), talk).confidence
    assert assess([()], (0,), []).confidence is None


def test_a_region_is_needed_for_each_channel() -> None:
    """Channels and regions that do not fit together are a mistake of ours, and are not passed over."""
    with pytest.raises(ValueError, match="shorter"):
        assess([()], (0, 1), [])
