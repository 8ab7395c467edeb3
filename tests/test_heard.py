"""Chunks on their way: voices within them, all chunks of a call, and loads of many calls."""

from collections.abc import Iterator
from itertools import groupby, pairwise

import pytest
from builders import region
from hypothesis import given
from hypothesis import strategies as st
from sounds import noise, track
from speech import UNREAD, heard_chunk, regions, spans

from tasks.chunks import Chunk
from tasks.heard import CHUNKS_AT_A_TIME, CallSpeech, ChannelSpeech, HeardChunk, chunks_of, loads, within
from tasks.records import CallHints, Region

SPEECH = regions(most=8, longest=120, widest=80)


# ---------------------------------------------------------------------------------------------------------- within


@given(SPEECH, SPEECH)
def test_within_is_what_both_hold(held: tuple[Region, ...], others: tuple[Region, ...]) -> None:
    """Moment by moment; in order, disjoint, nothing empty, no piece over an edge of either."""
    found = within(held, others)
    end = max((one.end for one in (*held, *others)), default=0.0)
    for moment in [(step + 0.5) / 8 for step in range(round(end * 8))]:
        both = all(any(one.start <= moment <= one.end for one in each) for each in (held, others))
        assert both == any(one.start <= moment <= one.end for one in found)
    assert all(one.duration_s > 0 for one in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert within(others, held) == found
    assert all(any(one.start <= piece.start and piece.end <= one.end for one in held) for piece in found)


def test_within_nothing() -> None:
    """Neither gives anything alone."""
    assert ([], [], []) == (within([], [region()]), within([region()], []), within([region(0, 1)], [region(1, 2)]))


def test_a_region_over_several_others() -> None:
    """It is there in each of them, and the next region may begin in the last of them."""
    found = within([region(0, 10), region(11, 12)], [region(1, 2), region(3, 4), region(9, 11.5)])
    assert [region(1, 2), region(3, 4), region(9, 10), region(11, 11.5)] == found


# ------------------------------------------------------------------------------------------------------ one chunk


def test_the_voices_of_a_chunk() -> None:
    """Of its channel's, what lies in its regions; it is as long as these."""
    source = ChannelSpeech(UNREAD, (region(0, 5), region(6, 9)), (region(0.5, 1.0), region(4.0, 7.0), region(8.0, 8.5)))
    heard = HeardChunk(0, 0, source, Chunk((region(3, 5), region(6, 8))))
    assert [region(4, 5), region(6, 7)] == heard.voices
    assert heard.voices is heard.voices
    assert 4.0 == heard.duration_s


@given(SPEECH, SPEECH, st.integers(0, 8), st.integers(1, 8))
def test_a_chunk_of_a_long_channel(
    voices: tuple[Region, ...], held: tuple[Region, ...], first: int, count: int
) -> None:
    """Its voices are those that lie in it, wherever in the channel it is."""
    own = held[first : first + count]
    if own:
        assert within(voices, own) == HeardChunk(0, 0, ChannelSpeech(UNREAD, held, voices), Chunk(own)).voices


def test_a_part_is_heard_anew() -> None:
    """It keeps place, channel and hints of the whole; regions and voices are its own, and nothing was found yet."""
    whole = heard_chunk(region(0, 2), region(3, 5), voices=[region(1, 4)], language="de")
    whole.hints = CallHints(languages=("de", "en"), hot_words=("Okwuosa",))
    whole.error, whole.odds, whole.retried = OSError(), {"de": 1.0}, True
    part = whole.part(Chunk((region(3, 5),)), "en")
    assert (whole.call, whole.channel, whole.source, whole.hints) == (part.call, part.channel, part.source, part.hints)
    assert ("en", [region(3, 4)], 2.0) == (part.language, part.voices, part.duration_s)
    assert [None] * 5 == [part.encoded, part.odds, part.decoded, part.hypothesis, part.error]
    assert not part.retried
    assert not whole.part(whole.chunk).language


def test_chunks_are_themselves() -> None:
    """Two of the same sound are two."""
    one, other = heard_chunk(), heard_chunk()
    assert one != other
    assert 2 == len({one, other})


# ------------------------------------------------------------------------------------------------ chunks of a call


@given(st.lists(SPEECH, max_size=3))
def test_all_chunks_of_a_call(channels: list[tuple[Region, ...]]) -> None:
    """Every channel's regions once and in order, with their channel, all of them in order of time."""
    hints = CallHints(languages=("en",))
    call = CallSpeech(tuple(ChannelSpeech(UNREAD, held, ()) for held in channels), hints)
    found = chunks_of(7, call, 15.0)
    for channel, held in enumerate(channels):
        own = [heard for heard in found if heard.channel == channel]
        assert list(held) == [piece for heard in own for piece in heard.chunk.regions]
        assert all(call.channels[channel] is heard.source for heard in own)
        assert all(heard.duration_s <= 15.0 for heard in own)
    assert all((one.chunk.start, one.channel) <= (other.chunk.start, other.channel) for one, other in pairwise(found))
    assert {(7, hints)} >= {(heard.call, heard.hints) for heard in found}


def test_long_speech_is_cut() -> None:
    """Two channels of 20 s without a pause, no more than 15 s at a time."""
    channels = tuple(ChannelSpeech(track(noise(seed, 20.0)), (region(0, 20),), ()) for seed in (1, 2))
    found = chunks_of(0, CallSpeech(channels), 15.0)
    assert [(0, 0.0), (1, 0.0)] == [(heard.channel, heard.chunk.start) for heard in found[:2]]
    assert [(0, 20.0), (1, 20.0)] == sorted((heard.channel, heard.chunk.end) for heard in found[2:])


def test_sound_that_is_gone() -> None:
    """Where it has to be read to be cut, the call fails."""
    with pytest.raises(OSError, match="no/such/file"):
        chunks_of(0, CallSpeech((ChannelSpeech(UNREAD, (region(0, 20),), ()),)), 15.0)


# ----------------------------------------------------------------------------------------------------------- loads


def calls(sizes: list[int]) -> list[list[HeardChunk]]:
    """Calls of so many chunks."""
    made = [[heard_chunk(*spans([(index, 1)])) for index in range(size)] for size in sizes]
    for call, chunks in enumerate(made):
        for heard in chunks:
            heard.call = call
    return made


def parts(sizes: list[int], most: int, call: int) -> list[int]:
    """Into how many chunks at a time a call comes."""
    held = [[heard.call for heard in load].count(call) for load in loads(calls(sizes), most)]
    return [count for count in held if count]


SIZES = st.lists(st.integers(0, 25), max_size=8)
MOST = st.integers(1, 10)


@given(SIZES, MOST)
def test_loads_hold_every_chunk_in_order(sizes: list[int], most: int) -> None:
    """As they came, no more than so many at a time, and never none."""
    made = calls(sizes)
    found = list(loads(made, most))
    assert [heard for chunks in made for heard in chunks] == [heard for load in found for heard in load]
    assert all(1 <= len(load) <= most for load in found)


@given(SIZES, MOST, st.integers(0, 25))
def test_a_call_is_parted_at_the_same_places(before: list[int], most: int, size: int) -> None:
    """Whatever calls came before it: nowhere if it fits, else where it is full."""
    expected = [most] * (size // most) + [size % most] * (size % most > 0)
    assert expected == parts([size], most, 0) == parts([*before, size], most, len(before))
    assert expected == parts([*before, size, *before], most, len(before))


@given(SIZES, MOST)
def test_loads_are_not_emptier_than_needed(sizes: list[int], most: int) -> None:
    """What comes next would not have fitted."""
    found = list(loads(calls(sizes), most))
    for load, after in pairwise(found):
        first = next(len(list(group)) for _, group in groupby(after, lambda heard: heard.call))
        assert len(load) + first > most


def test_loads_come_before_all_calls_are_cut() -> None:
    """A call is asked for when the load before it is full: what is held at a time is bounded."""
    asked: list[int] = []

    def cut_later() -> Iterator[list[HeardChunk]]:
        for index, chunks in enumerate(calls([CHUNKS_AT_A_TIME] * 4)):
            asked.append(index)
            yield chunks

    found = loads(cut_later())
    assert (CHUNKS_AT_A_TIME, [0, 1]) == (len(next(found)), asked)
