"""Entities: numbers as they are said and written, values, and what counts as found."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.entities import EntityMiss, EntityScore, entity_score
from evaluation.entity_search import locate
from evaluation.hypotheses import HypothesisUtterance
from evaluation.moments import BEGINNINGS, dates, times
from evaluation.rates import EntityCounts
from evaluation.references import ReferenceEntity, load_references
from evaluation.spoken import SCALES, SMALL, ZEROS, cardinals, spelled, spellings, text_atoms
from evaluation.streams import READERS, Stream
from evaluation.values import Calendar, Clock, Value, amounts, read
from tasks.records import Word

DEMO = Path(__file__).parent.parent / "evaluation" / "sets" / "demo" / "references"
TYPES = st.sampled_from(["phone", "invoice_number", "amount", "date", "time", "person", "organisation"])
SAID = st.lists(
    st.sampled_from(
        "$142.50 142 dollars and 50 cents one forty two fifty october 5th may first 10/05 2026-10-05 3:30 3.30 p.m."
        " pm half past double oh o dash 4471-9025 laura, o'brien & two hundred thousand % . twenty ² ²th 10/99"
        " 25:99".split()
    )
    | st.text(max_size=6),
    max_size=12,
).map(" ".join)
OTHER_WORDS = "a hundred point percent per cent double bravo b as in boy for like st £5".split()
NUMBER_WORDS = [*SMALL, *ZEROS, *SCALES, *BEGINNINGS, *OTHER_WORDS]


def utterances(*texts: str, start: float = 0.0) -> list[HypothesisUtterance]:
    """Utterances of one speaker, each of one second, without word times."""
    return [HypothesisUtterance("S", start + i, start + i + 1.0, text) for i, text in enumerate(texts)]


def is_found(kind: str, reference: str, *texts: str) -> bool:
    """Whether a reference entity of unknown time is found in what was heard."""
    return entity_score([ReferenceEntity(kind, reference)], utterances(*texts)).counts.correct == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one hundred and thirty five", 135),
        ("a hundred", 100),
        ("two thousand five hundred", 2500),
        ("twenty five hundred", 2500),
        ("one million two hundred thousand and six", 1_200_006),
        ("1.5 million", 1_500_000),
        ("2,500", 2500),
        ("zero", 0),
        ("forty-two", 42),
    ],
)
def test_cardinals_are_read(text: str, expected: int) -> None:
    """The longest reading of a number in words or digits is the whole of it."""
    run = text_atoms(text)
    assert cardinals(run, 0)[-1] == (Decimal(expected), len(run))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4471-9025", {"44719025"}),
        ("four four seven one nine zero two five", {"44719025"}),
        ("forty four seventy one ninety twenty five", {"44719025"}),
        ("five five five oh one double four", {"5550144"}),
        ("eight hundred five five five", {"800555", "80555"}),
        ("INV dash 20 O 5", {"inv2005"}),
        ("$5", set()),
    ],
)
def test_codes_have_few_spellings(text: str, expected: set[str]) -> None:
    """Digits are joined however they are said; where a number can be meant in two ways, both are tried."""
    assert expected == spellings(text_atoms(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$142.50", "142.50"),
        ("142 dollars and 50 cents", "142.50"),
        ("$142 and 50 cents", "142.50"),
        ("142.50", "142.50"),
        ("one hundred forty two dollars and fifty cents", "142.50"),
        ("a hundred and forty-two dollars fifty", "142.50"),
        ("one forty two fifty", "142.50"),
        ("$2,500", "2500"),
        ("two thousand five hundred dollars", "2500"),
        ("$1.5 million", "1500000"),
        ("four oh five dollars", "405"),
        ("ninety eight dollars", "98"),
        ("75 cents", "0.75"),
    ],
)
def test_amounts_are_read(text: str, expected: str) -> None:
    """An amount is one value however it is said."""
    (reading,) = read(text_atoms(text), amounts)
    assert Decimal(expected) in reading.values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("October 5", Calendar(10, 5)),
        ("october fifth", Calendar(10, 5)),
        ("5th of October", Calendar(10, 5)),
        ("the fifth of october", Calendar(10, 5)),
        ("October the 5th, 2026", Calendar(10, 5, 2026)),
        ("10/05", Calendar(10, 5)),
        ("10/5/26", Calendar(10, 5, 2026)),
        ("2026-10-05", Calendar(10, 5, 2026)),
        ("Oct. 5", Calendar(10, 5)),
        ("december thirty first nineteen ninety nine", Calendar(12, 31, 1999)),
        ("may twenty second two thousand and six", Calendar(5, 22, 2006)),
        ("july twentieth twenty oh five", Calendar(7, 20, 2005)),
        ("three march", Calendar(3, 3)),
    ],
)
def test_dates_are_read(text: str, expected: Calendar) -> None:
    """A date is month, day and maybe year."""
    assert [frozenset({expected})] == [reading.values for reading in read(text_atoms(text), dates)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3:30 pm", Clock(15, 30, certain=True)),
        ("three thirty p.m.", Clock(15, 30, certain=True)),
        ("3.30 p.m.", Clock(15, 30, certain=True)),
        ("330 pm", Clock(15, 30, certain=True)),
        ("15:30", Clock(15, 30, certain=True)),
        ("three thirty", Clock(3, 30, certain=False)),
        ("half past three", Clock(3, 30, certain=False)),
        ("quarter to one pm", Clock(12, 45, certain=True)),
        ("eleven a m", Clock(11, 0, certain=True)),
        ("9am", Clock(9, 0, certain=True)),
        ("three o'clock", Clock(3, 0, certain=False)),
        ("nine oh five a.m.", Clock(9, 5, certain=True)),
        ("12 am", Clock(0, 0, certain=True)),
        ("noon", Clock(12, 0, certain=True)),
    ],
)
def test_times_are_read(text: str, expected: Clock) -> None:
    """A time is an hour and a minute, and certain once the half of the day is."""
    assert [frozenset({expected})] == [reading.values for reading in read(text_atoms(text), times)]


@pytest.mark.parametrize(
    ("kind", "reference", "heard", "expected"),
    [
        # Numbers: the digits decide, not how they are grouped or spelled.
        ("invoice_number", "4471-9025", "It is 4471-9025.", True),
        ("invoice_number", "4471-9025", "it is 44 71 90 25 thank you", True),
        ("invoice_number", "4471-9025", "it is four four seven one nine zero two five thank you", True),
        ("invoice_number", "4471-9025", "It is 4471. 9025.", True),
        ("invoice_number", "4471-9025", "It's 4471 dash 9025.", True),
        ("invoice_number", "4471-9025", "It is 4471-9052.", False),
        ("invoice_number", "4471-9025", "it is 4471 9025 7", False),
        ("invoice_number", "4471-9025", "it is 14471-9025", False),
        ("invoice_number", "4471", "it is 4471-9025", False),
        ("invoice_number", "4471", "it is 4471, 9 dollars", True),
        ("invoice_number", "INV-20415", "invoice INV20415.", True),
        ("invoice_number", "INV-20415", "i n v 2 o 4 1 5", True),
        ("invoice_number", "INV-20415", "invoice 20415", False),
        ("invoice_number", "four four seven one", "4471", True),
        ("phone", "555-0142", "five five five, oh one four two", True),
        ("phone", "(555) 010-0142", "555.010.0142", True),
        ("phone", "800-555-0100", "eight hundred five five five zero one double zero", True),
        ("phone", "555-0142", "555-0143", False),
        ("zip_code", "70023", "It's 7-0-0-2-3.", True),
        # Amounts: the value decides.
        ("amount", "$142.50", "142 dollars and 50 cents", True),
        ("amount", "one hundred and thirty five dollars", "$135 has been transferred", True),
        ("amount", "$35", "one hundred and thirty five dollars", False),
        ("amount", "$142.50", "$140.50", False),
        ("amount", "$5", "5% more", False),
        ("amount", "$98", "I paid 98 dollars. 20 days ago", True),
        # Dates and times: as much as the reference says.
        ("date", "October 5", "on the 5th of October, 2026", True),
        ("date", "October 5, 2026", "on October 5th", False),
        ("date", "October 5", "on October 15th", False),
        ("date", "Monday", "see you on monday then", True),
        ("time", "3:30 pm", "at three thirty p.m.", True),
        ("time", "3:30 pm", "at 3.30 a.m.", False),
        ("time", "3:30 pm", "at 3:30", False),
        ("time", "three thirty", "at 3:30 p.m.", True),
        ("time", "9:30 am to 5 pm", "9:30 am to 5 pm", True),
        # Names: the normalised words decide.
        ("person", "Maria Jensen", "this is maria uh jensen speaking", True),
        ("person", "Maria Jensen", "this is maria jansen", False),
        ("person", "Mr. Brooks", "of course, Mister Brooks", True),
        ("person", "Robert Miller", "Robert Miller's account", True),
        ("organisation", "Smith & Sons", "smith and sons", True),
        ("organisation", "Seven Eleven", "7-Eleven", True),
        ("organisation", "Larkfield Energy", "Larkfield. Energy", True),
        ("organisation", "???", "what", False),
    ],
)
def test_what_counts_as_found(kind: str, reference: str, heard: str, expected: bool) -> None:
    """The value must be there, not its spelling."""
    assert expected is is_found(kind, reference, heard)


@pytest.mark.parametrize(
    ("code", "said", "heard", "expected"),
    [
        # The reference runs on into a number, and so may the transcript, however either is written.
        ("INV 23891", "it is i n v two three eight nine one four pounds", "It's I N V 2 3 8 9 1 4 pounds", True),
        ("INV 23891", "It is INV 23891, 4 pounds.", "it is INV 2 3 8 9 1 4 pounds", True),
        ("INV 23891", "invoice INV 23891. Four pounds", "invoice INV-23891 4 pounds", True),
        ("INV 23891", "INV 23891 one hundred and five pounds", "INV 23891 105 pounds", True),
        ("INV 23891", "INV 23891 one pound", "INV 2 3 8 9 1 1 pound", True),
        ("4471", "on may 3 4471", "on May 3 4 4 7 1", True),
        # Which number it is says nothing of the code.
        ("INV 23891", "INV 23891 four pounds", "INV 2 3 8 9 1 5 pounds", True),
        # A digit too many is one, with and without a number behind it, and so is one where the reference ends.
        ("INV 23891", "INV 23891 four pounds", "INV 2 3 8 9 1 1 4 pounds", False),
        ("INV 23891", "INV 23891 four pounds", "INV 2 3 8 9 1 14 pounds", False),
        ("INV 23891", "INV 23891 fourteen pounds", "INV 2 3 8 9 1 1 4 pounds", True),
        ("INV 23891", "the invoice is INV 23891 for paper", "the invoice is INV 2 3 8 9 1 4 for paper", False),
        ("INV 23891", "INV 23891 five pounds", "3 INV 23891 four pounds", True),
        ("4471", "4471 is it", "3 4471 is it", False),
        ("4471", "4471 nine dollars", "3 4471 nine dollars", False),
        # A digit too few or wrong is no digit of the number behind it.
        ("INV 23891", "INV 23891 four pounds", "INV 2 3 8 9 4 pounds", False),
        # A word that holds more is another word.
        ("INV 23891", "INV 23891 four pounds", "INV 238914 pounds", False),
        # A number without end is none.
        ("4471", "4471" + " 2" * 30, "4471" + " 2" * 30, False),
    ],
)
def test_codes_run_on_as_in_the_reference(code: str, said: str, heard: str, expected: bool) -> None:
    """A code ends where the reference says so: what follows it there may follow it in the transcript, and no more."""
    entity = ReferenceEntity("invoice_number", code)
    score = entity_score([entity], utterances(heard), lines=utterances(said))
    assert expected is (score.counts.correct == 1)
    assert expected is not bool(score.misses)
    if expected:
        assert "id" not in (score.spurious or {})


def test_telephone_numbers_run_on_as_in_the_reference() -> None:
    """With and without the code of the country, into the extension that was said behind them."""
    entity, said = (
        ReferenceEntity("phone", "415 555 2671"),
        utterances("call 415 555 2671 extension 12 or 415 555 2671 12"),
    )
    found = [
        entity_score([entity], utterances(heard), lines=said[:1]).counts.correct
        for heard in ("call 1 415 555 2671", "call 4 1 5 5 5 5 2 6 7 1 12", "call 4 1 5 5 5 5 2 6 7 1 2")
    ]
    assert [1, 0, 0] == found
    twice = entity_score([entity, entity], utterances("4155552671 or 415 555 2671 12"), lines=said)
    assert EntityCounts(2, 2) == twice.counts


def test_each_mention_of_a_code_runs_on_as_it_was_said() -> None:
    """The zip code is alone, the telephone number begins with the same digits: one does not stand for the other."""
    wanted = [ReferenceEntity("zip_code", "4471"), ReferenceEntity("phone", "4471 9025")]
    said = utterances("the zip is 4471", "call 4471 9025")
    assert (EntityMiss("zip_code", "4471"),) == entity_score(
        wanted, utterances("the zip is 4470", "call 4471 9025"), lines=said
    ).misses


@given(st.text("123456789", min_size=4, max_size=8), st.integers(1, 999), st.text("0123456789", max_size=3))
def test_digits_too_many_are_never_found(code: str, number: int, surplus: str) -> None:
    """Said digit by digit with a number behind it, a code is found as it is, and with no digit more or less."""
    said = utterances(f"it is {code} {number} pounds")
    heard = utterances(f"it is {' '.join(code + surplus)} {number} pounds")
    score = entity_score([ReferenceEntity("invoice_number", code)], heard, lines=said)
    assert (not surplus) is (score.counts.correct == 1)


def test_entities_are_located_where_the_reference_runs_on() -> None:
    """The reference holds its own codes, whatever stands beside them, and rather where they stand alone."""
    lines = utterances("four four seven two nine dollars", "I repeat four four seven two")
    entity = ReferenceEntity("invoice_number", "4472")
    heard, places = locate([entity, entity], lines)
    assert ["four four seven two"] * 2 == [
        " ".join(heard[word].text for word in sorted(place or ())) for place in places
    ]
    assert [8, 0] == [min(place or ()) for place in places]


def test_numbers_go_on_over_utterances_and_interjections() -> None:
    """A number that is said in two breaths, with an "okay" of the other side between them, is one number."""
    heard = [
        HypothesisUtterance("S0", 0.0, 2.0, "seven zero zero"),
        HypothesisUtterance("S1", 1.5, 2.5, "okay"),
        HypothesisUtterance("S0", 3.0, 4.0, "two three"),
    ]
    assert EntityCounts(1, 1) == entity_score([ReferenceEntity("zip_code", "70023")], heard).counts


def test_pieces_that_whisper_times_apart_are_one_word() -> None:
    """Found with faster-whisper: "$89.95" and "p.m." come as two timed words, and must not become 89 and .95."""
    pieces = ["It", "was", "$89", ".95", "on", "invoice", "4471", "-9025", "at", "3", ".30", "p", ".m."]
    words = tuple(Word(text, float(i), i + 1.0, 0.9) for i, text in enumerate(pieces))
    entities = [
        ReferenceEntity("amount", "$89.95"),
        ReferenceEntity("invoice_number", "4471-9025"),
        ReferenceEntity("time", "3:30 pm"),
    ]
    timed = [HypothesisUtterance("S", 0.0, 13.0, " ".join(pieces), words)]
    untimed = utterances(" ".join(pieces))
    assert [EntityCounts(3, 3)] * 2 == [entity_score(entities, heard).counts for heard in (timed, untimed)]


@pytest.mark.parametrize(("start", "expected"), [(0.0, 1), (14.9, 1), (15.1, 0), (40.0, 0)])
def test_entities_are_looked_for_near_their_time(start: float, expected: int) -> None:
    """With word times a match lies within five seconds of the entity."""
    words = (Word("I", 0.0, 0.5, 1.0), Word("am", 0.5, 1.0, 1.0), Word("Laura", 9.0, 9.9, 1.0))
    heard = [HypothesisUtterance("S", 0.0, 30.0, "I am Laura", words)]
    entity = ReferenceEntity("person", "Laura", "agent", start, start + 4.0)
    assert expected == entity_score([entity], heard).counts.correct


def test_a_mention_is_found_once() -> None:
    """An entity that is said twice and heard once is missed once; a longer name keeps its words from a shorter one."""
    twice = [ReferenceEntity("person", "Brooks", start=1.0, end=2.0), ReferenceEntity("person", "Daniel Brooks")]
    once = EntityScore({"person": EntityCounts(2, 1)}, (EntityMiss("person", "Brooks", 1.0),))
    assert once == entity_score(twice, utterances("this is Daniel Brooks"))
    assert entity_score(twice, utterances("this is Daniel Brooks", "thanks mr brooks")).counts.correct == 2


def test_scores_add_type_by_type() -> None:
    """Counts of a type are added, types are put side by side, misses are strung together."""
    one = entity_score([ReferenceEntity("person", "Laura"), ReferenceEntity("amount", "$5")], utterances("laura"))
    other = entity_score([ReferenceEntity("amount", "$6")], utterances("six dollars"))
    total = sum([one, other], EntityScore.zero())
    assert total.by_type == {"amount": EntityCounts(2, 1), "person": EntityCounts(1, 1)}
    assert (EntityCounts(3, 2), one.misses) == (total.counts, total.misses)


@given(st.lists(st.tuples(TYPES, SAID), max_size=5), st.lists(SAID, max_size=4))
def test_all_entities_are_accounted_for(entities: Sequence[tuple[str, str]], heard: Sequence[str]) -> None:
    """Whatever was said and heard, each entity is either found or among the misses, and more is never found."""
    wanted = [ReferenceEntity(kind, text) for kind, text in entities]
    score = entity_score(wanted, utterances(*heard))
    assert (len(wanted), len(score.misses)) == (score.counts.reference, score.counts.missed)
    assert entity_score(wanted, ()).counts.correct == 0


@given(SAID, st.sampled_from([amounts, dates, times]))
def test_readings_follow_each_other(text: str, reader: object) -> None:
    """Readings have a value, do not overlap, and stay within the text."""
    assert callable(reader)
    run = text_atoms(text)
    readings = read(run, reader)
    ends = [0, *(reading.end for reading in readings)]
    assert all(before <= reading.first < reading.end for before, reading in zip(ends, readings, strict=False))
    assert ends[-1] <= len(run)
    values: list[Value] = [value for reading in readings for value in reading.values]
    assert len(values) >= len(readings)


@given(st.lists(SAID | st.sampled_from(NUMBER_WORDS), max_size=6).map(" ".join), st.sampled_from(list(READERS)))
def test_values_begin_where_a_stream_looks_for_them(text: str, kind: str) -> None:
    """A stream tries few places, and finds what is found when every one is tried."""
    assert read(text_atoms(text), READERS[kind]) == Stream(tuple(enumerate(text.split())), "en").readings(kind)


@given(st.lists(SAID | st.sampled_from(NUMBER_WORDS), max_size=6).map(" ".join))
def test_codes_begin_where_a_stream_looks_for_them(text: str) -> None:
    """Every code that is spelled from a place on begins with what that place is listed under."""
    stream = Stream(tuple(enumerate(text.split())), "en")
    for at in range(len(stream.atoms)):
        run = stream.atoms[at : at + 4]
        codes = {code for end in range(1, len(run) + 1) for code in spellings(run[:end]) if code}
        for code in (code for code in codes if spelled(stream.atoms, at, code) is not None):
            assert at in stream.beginnings[code[0]]


@pytest.mark.skipif(not DEMO.is_dir(), reason="the demo set is not in this copy")
def test_the_demo_set_finds_itself() -> None:
    """Every entity of the demo calls is found in what was said in them, spelled out as the references are."""
    references = load_references(DEMO)
    scores = {
        call_id: entity_score(reference.entities, [HypothesisUtterance.from_stm(line) for line in reference.lines])
        for call_id, reference in references.items()
        if reference.entities and reference.lines
    }
    assert scores
    assert dict.fromkeys(scores, ()) == {call_id: score.misses for call_id, score in scores.items()}
