"""From the aligner's pieces to words of the call: joined, in order, within speech, without pauses."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from builders import region, word
from hypothesis import given
from hypothesis import strategies as st
from speech import regions, spans, texts

from tasks.chunks import Chunk
from tasks.heard import within
from tasks.hypotheses import uncovered
from tasks.records import Region, Word
from tasks.whisper import Piece
from tasks.words import EDGE_S, LEAD_S, LONGEST_GAP_S, PAUSE_S, from_onset, join_pieces, to_words, within_voice

# What floats and milliseconds make of times.
ABOUT_S = 0.0006

VOICES = regions(most=10, longest=12, widest=8)
# Regions of a chunk, and the voices in them.
SPEECH = st.tuples(regions(most=4, fewest=1, longest=60, widest=20), VOICES).map(
    lambda found: (found[0], within(found[1], found[0]))
)


def pieces(*raw: str) -> list[tuple[str, Word]]:
    """Pieces as the aligner gives them, a tenth of a second each."""
    return [(text, Word(text.strip(), index / 10, (index + 1) / 10, 0.9)) for index, text in enumerate(raw)]


def aligned(found: Sequence[tuple[bool, str, int]]) -> list[Piece]:
    """Pieces that follow each other without a gap, as the aligner has them, so many eighths of a second each."""
    ends = list(accumulate(length / 8 for _, _, length in found))
    starts = [0.0, *ends]
    return [
        Piece((" " if space else "") + text, start, end, 0.9)
        for (space, text, _), start, end in zip(found, starts, ends, strict=False)
    ]


PIECES = st.lists(
    st.tuples(st.booleans(), st.text("abc$.", min_size=1, max_size=3), st.integers(0, 20)), max_size=12
).map(aligned)


def piece(text: str, start: float, end: float, probability: float = 0.9) -> Piece:
    """What the aligner makes of what is said at a time in the chunk: it has it too early."""
    return Piece(text, start - LEAD_S, end - LEAD_S, probability)


def silences(item: Word, voices: Sequence[Region]) -> list[float]:
    """How long each stretch without voice within a word is."""
    held = [word("voice", voice.start, voice.end) for voice in voices]
    return [gap.duration_s for gap in uncovered([Region(item.start, item.end)], held, 0.0)]


def is_voiced(item: Word, voices: Sequence[Region]) -> bool:
    """Whether any voice is heard in a word."""
    return any(min(item.end, voice.end) > max(item.start, voice.start) for voice in voices)


# --------------------------------------------------------------------------------------------------- join_pieces


@pytest.mark.parametrize(
    ("language", "raw", "expected"),
    [
        ("en", [" $89", ".95"], ["$89.95"]),
        ("en", [" it", " is", " $89", ".95", "."], ["it", "is", "$89.95."]),
        ("en", [" 4471", "-", "9025"], ["4471-9025"]),
        ("en", [" don", "'t", " know"], ["don't", "know"]),
        ("en", ["Hello", " there"], ["Hello", "there"]),
        ("en", ["$", "5", " please"], ["$5", "please"]),
        ("en", [], []),
        ("de", [" Haus", "tür"], ["Haustür"]),
        ("ja", ["もし", "もし", "、", "田中"], ["もし", "もし", "、", "田中"]),
        ("zh", ["你", "好"], ["你", "好"]),
        ("th", ["สวัส", "ดี"], ["สวัส", "ดี"]),
        ("ko", [" 안녕", "하세요"], ["안녕하세요"]),
    ],
)
def test_pieces_are_joined_to_words(language: str, raw: list[str], expected: list[str]) -> None:
    """A piece without a space before it belongs to the word before, where the language writes spaces."""
    assert expected == texts(join_pieces(pieces(*raw), language))


def test_a_joined_word_spans_its_pieces() -> None:
    """It starts with the first, ends with the last, and is as sure as the least sure of them."""
    raw = [(" $89", word("$89", 1.0, 1.4, 0.9)), (".", word(".", 1.4, 1.5, 0.3)), ("95", word("95", 1.5, 1.9, 0.8))]
    assert (word("$89.95", 1.0, 1.9, 0.3),) == join_pieces(raw, "en")


@pytest.mark.parametrize(("gap_s", "expected"), [(0.0, ["447190"]), (1.0, ["447190"]), (1.01, ["4471", "90"])])
def test_two_numbers_stay_two(gap_s: float, expected: list[str]) -> None:
    """What is said after a pause is a word of its own, however it was written."""
    raw = [(" 4471", word("4471", 0.0, 1.0)), ("90", word("90", 1.0 + gap_s, 2.0))]
    assert expected == texts(join_pieces(raw, "en"))


@given(st.lists(st.tuples(st.booleans(), st.text("abc$.", min_size=1, max_size=3)), max_size=12), st.sampled_from("ej"))
def test_joining_loses_no_letter(parts: list[tuple[bool, str]], which: str) -> None:
    """All pieces' letters are there in order, in no more words than pieces, over the same time."""
    raw = pieces(*[(" " if space else "") + text for space, text in parts])
    joined = join_pieces(raw, {"e": "en", "j": "ja"}[which])
    assert "".join(text for _, text in parts) == "".join(texts(joined))
    assert len(joined) == len(parts) if which == "j" else len(joined) <= len(parts)
    if raw:
        assert (raw[0][1].start, raw[-1][1].end) == (joined[0].start, joined[-1].end)
    assert all(before.end <= after.start for before, after in pairwise(joined))


# --------------------------------------------------------------------------------------------------- within_voice


@pytest.mark.parametrize(
    ("voices", "expected"),
    [
        # Nothing to say where it should be.
        ([], (2.0, 4.0)),
        ([(0.0, 2.0), (4.0, 6.0)], (2.0, 4.0)),
        # All of it is voice, or nearly.
        ([(0.0, 9.0)], (2.0, 4.0)),
        ([(2.0, 4.0)], (2.0, 4.0)),
        ([(2.2, 3.8)], (2.0, 4.0)),
        # The aligner took a pause along.
        ([(2.5, 6.0)], (2.45, 4.0)),
        ([(0.0, 3.0)], (2.0, 3.05)),
        ([(2.25, 3.75)], (2.2, 3.8)),
        ([(1.0, 1.5), (3.0, 3.4), (8.0, 9.0)], (2.95, 3.45)),
        # Two stretches: where there is more voice.
        ([(2.0, 2.4), (3.0, 4.0)], (2.95, 4.0)),
        ([(2.0, 3.0), (3.6, 4.0)], (2.0, 3.05)),
        ([(1.0, 2.1), (2.6, 3.2), (3.9, 5.0)], (2.55, 3.25)),
        # A short gap is no pause.
        ([(2.0, 2.9), (3.1, 4.0)], (2.0, 4.0)),
        ([(2.5, 2.7), (2.9, 3.1), (3.6, 3.9)], (2.45, 3.15)),
    ],
)
def test_a_word_leaves_pauses_to_themselves(voices: list[tuple[float, float]], expected: tuple[float, float]) -> None:
    """A word from 2 s to 4 s keeps to the voice under it, with a little at its edges."""
    assert pytest.approx(expected) == within_voice(2.0, 4.0, [region(*times) for times in voices])


@pytest.mark.parametrize("moment", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_a_word_of_no_length_stays(moment: float) -> None:
    """Within a voice, at its edge, and away from it."""
    assert (moment, moment) == within_voice(moment, moment, [region(1.0, 2.0)])


@given(VOICES, st.integers(0, 160), st.integers(0, 40))
def test_a_trimmed_word_spans_no_pause(voices: tuple[Region, ...], begin: int, length: int) -> None:
    """Within its own times, with a voice where there was one, without any pause; trimming again changes nothing."""
    start, end = begin / 8, (begin + length) / 8
    first, last = within_voice(start, end, voices)
    assert start <= first <= last <= end
    before, after = word("one", start, end), word("one", first, last)
    assert is_voiced(before, voices) == is_voiced(after, voices)
    if is_voiced(after, voices):
        assert all(silent_s < PAUSE_S for silent_s in silences(after, voices))
    else:
        assert (start, end) == (first, last)
    assert (first, last) == within_voice(first, last, voices)


# ------------------------------------------------------------------------------------------------------ from_onset


@pytest.mark.parametrize(
    ("start", "before", "expected"),
    [
        # The first word of a voice begins with it.
        (2.2, 0.0, 2.0),
        (2.0, 2.0, 2.0),
        (2.3, 1.5, 2.0),
        # Too late for that.
        (2.31, 1.5, 2.31),
        (3.5, 1.5, 3.5),
        # Not the first.
        (2.2, 2.1, 2.2),
        # No voice has begun, or it is over.
        (0.5, 0.0, 0.5),
        (1.9, 1.2, 1.9),
        (5.2, 4.0, 5.2),
    ],
)
def test_a_word_begins_with_its_voice(start: float, before: float, expected: float) -> None:
    """What follows a pause begins where the voice does: here at 1 s, at 2 s, and for a tenth of a second at 5 s."""
    voices = [region(1.0, 1.5), region(2.0, 4.0), region(5.0, 5.1)]
    assert expected == from_onset(start, before, voices)
    assert start == from_onset(start, before, [])


# -------------------------------------------------------------------------------------------------------- to_words


@given(PIECES, SPEECH, st.sampled_from(["en", "ja"]))
def test_words_follow_each_other_within_speech(
    found: list[Piece], speech: tuple[tuple[Region, ...], list[Region]], language: str
) -> None:
    """None begins before the last one ends, and each begins and ends in a region of the chunk."""
    held, voices = speech
    words = to_words(found, Chunk(held), voices, language)
    assert all(item.start <= item.end for item in words)
    assert all(before.end <= after.start for before, after in pairwise(words))
    for moment in (time for item in words for time in (item.start, item.end)):
        assert any(one.start - ABOUT_S <= moment <= one.end + ABOUT_S for one in held)


@given(PIECES, SPEECH, st.sampled_from(["en", "ja"]))
def test_all_letters_are_kept(
    found: list[Piece], speech: tuple[tuple[Region, ...], list[Region]], language: str
) -> None:
    """Of every piece, in order; each piece with a space before it begins a word."""
    words = to_words(found, Chunk(speech[0]), speech[1], language)
    assert "".join(item.text.strip() for item in found) == "".join(texts(words))
    assert sum(item.text.startswith(" ") for item in found) <= len(words) <= len(found)


@given(PIECES, SPEECH)
def test_no_piece_spans_a_pause(found: list[Piece], speech: tuple[tuple[Region, ...], list[Region]]) -> None:
    """Where a voice is heard under a piece, it keeps to it, and to one region."""
    held, voices = speech
    for item in to_words(found, Chunk(held), voices, "ja"):
        assert any(one.start - ABOUT_S <= item.start and item.end <= one.end + ABOUT_S for one in held)
        if is_voiced(item, voices):
            assert all(silent_s < PAUSE_S + ABOUT_S for silent_s in silences(item, voices))


@given(PIECES, SPEECH)
def test_a_joined_word_spans_no_long_pause(found: list[Piece], speech: tuple[tuple[Region, ...], list[Region]]) -> None:
    """A pause within it is at most what may lie between the pieces of a word, and what was left at their edges."""
    chunk, voices = Chunk(speech[0]), speech[1]
    alone = to_words(found, chunk, voices, "ja")
    for item in to_words(found, chunk, voices, "en"):
        own = [one for one in alone if item.start <= one.start and one.end <= item.end]
        if all(is_voiced(one, voices) for one in own):
            longest_s = LONGEST_GAP_S + 2 * max(EDGE_S, PAUSE_S)
            assert all(silent_s <= longest_s + ABOUT_S for silent_s in silences(item, voices))
        assert all(after.start - before.end <= LONGEST_GAP_S + ABOUT_S for before, after in pairwise(own))


def test_a_pause_goes_to_no_word() -> None:
    """The aligner gives the second of silence to the word after it: here it begins where the voice does."""
    found = [piece(" hello", 0.0, 0.5, 0.8), piece(" there", 0.5, 2.0, 0.9), piece(".", 2.0, 2.1, 0.7)]
    voices = (region(10.0, 10.5), region(11.5, 12.0))
    expected = (word("hello", 10.0, 10.5, 0.8), word("there.", 11.45, 12.1, 0.7))
    assert expected == to_words(found, Chunk((region(10.0, 13.0),)), voices, "en")


def test_times_are_those_of_the_call() -> None:
    """Silence that was taken out is counted again; a piece over the cut lies where its middle is."""
    chunk = Chunk((region(1, 3), region(10, 12)))
    found = [piece(" early", 1.7, 2.1), piece(" late", 2.5, 2.6), piece(" end", 3.7, 4.0)]
    assert [("early", 2.7, 3.0), ("late", 10.5, 10.6), ("end", 11.7, 12.0)] == [
        (item.text, item.start, item.end) for item in to_words(found, chunk, chunk.regions, "en")
    ]


def test_the_first_word_after_a_pause() -> None:
    """It begins with the voice, a little before the aligner has it; the next one does not."""
    chunk = Chunk((region(1, 3), region(10, 12)))
    found = [piece(" one", 0.2, 0.5), piece(" two", 0.5, 2.0), piece(" three", 2.2, 2.5)]
    assert [(1.0, 1.5), (1.5, 3.0), (10.0, 10.5)] == [
        (item.start, item.end) for item in to_words(found, chunk, chunk.regions, "en")
    ]


def test_what_the_aligner_has_at_the_end_stays_there() -> None:
    """What it has too early is moved no farther than there is sound."""
    found = [Piece(" one", 0.5, 1.9, 0.9), Piece(" two", 1.9, 2.0, 0.9)]
    words = to_words(found, Chunk((region(0, 2),)), (region(0, 2),), "en")
    assert [(0.6, 2.0), (2.0, 2.0)] == [(item.start, item.end) for item in words]


def test_pieces_in_one_place_do_not_go_back() -> None:
    """What would end before the last word does becomes a moment at that end."""
    found = [piece(" one", 0.0, 2.0), piece(" two", 1.0, 1.5), piece(" three", 1.9, 2.5)]
    words = to_words(found, Chunk((region(0, 3),)), (region(0, 3),), "en")
    assert [(0.0, 2.0), (2.0, 2.0), (2.0, 2.5)] == [(item.start, item.end) for item in words]


def test_two_words_over_a_cut_stay_two() -> None:
    """Pieces of one word that lie in two regions, with a pause between, are said apart."""
    chunk = Chunk(spans([(0, 2), (3, 2)]))
    found = [piece(" 4471", 1.0, 2.0), piece("90", 2.0, 3.0)]
    assert ["4471", "90"] == texts(to_words(found, chunk, chunk.regions, "en"))
    assert ["44", "71"] == texts(to_words([piece("44", 0, 1), piece("71", 1, 2)], chunk, (), "zh"))


def test_no_pieces_no_words() -> None:
    """Nothing was said."""
    assert () == to_words([], Chunk((region(),)), (region(),), "en")
