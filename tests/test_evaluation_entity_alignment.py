"""Class WER: word errors inside the entities, against fstalign's own examples and a published hypothesis."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import lattice
from evaluation.entity_alignment import (
    ClassErrors,
    Piece,
    class_errors,
    document_pieces,
    document_words,
    located_pieces,
    located_words,
)
from evaluation.hypotheses import HypothesisUtterance
from evaluation.lattice import best_ops
from evaluation.nlp_format import NlpDocument, parse_nlp
from evaluation.rates import ErrorCounts
from evaluation.references import ReferenceEntity, load_references
from evaluation.wer import count_errors

EARNINGS = Path(__file__).parent / "data" / "earnings21"
WORD = st.sampled_from("a b c d".split())
WORDS = st.lists(WORD, max_size=12)
WAYS = st.lists(st.lists(WORD, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)
PIECES = st.lists(st.builds(Piece, WAYS, st.sampled_from([((),), (("X",),), (("X", "Y"),)])), max_size=8)

# Files of fstalign's tests (Rev, Apache License 2.0): test/data/align_4 and sample_data/tests/twenty.*.
ALIGN_4 = "token|tags\n" + "".join(f"{word}|[]\n" for word in "a b c d 1988 e f g h i j".split()).replace(
    "1988|[]", "1988|['0:CARDINAL']"
)
TWENTY = """\
token|speaker|ts|endTs|punctuation|case|tags|wer_tags
20|2|84.6600|85.0600||CA|['1:CARDINAL']|['1']
in|2|89.1600|89.2800||LC|[]|[]
2020|2|89.7400|89.9900||CA|['0:YEAR']|['0', '2']
is|2|89.1600|89.2800||LC|[]|[]
123|2|89.7400|89.9900||CA|['3:CARDINAL']|['3']
"""
TWENTY_WAYS = {
    "0": "twenty twenty/two thousand and twenty/two thousand twenty",
    "1": "twenty",
    "3": "a hundred and twenty three/a hundred twenty three/one hundred and twenty three/one hundred twenty three"
    "/one twenty three",
}


def ways(text: str) -> tuple[tuple[str, ...], ...]:
    """Ways between slashes."""
    return tuple(tuple(way.split()) for way in text.split("/"))


@pytest.mark.parametrize(
    ("heard", "total", "cardinal"),
    [
        ("a b c d nineteen uh eighty eight e f g h i j", ErrorCounts(13, insertions=1), ErrorCounts(3, insertions=1)),
        ("a b c d nineteen eighty e f g h i j", ErrorCounts(13, deletions=1), ErrorCounts(3, deletions=1)),
    ],
)
def test_fstalign_align_4(heard: str, total: ErrorCounts, cardinal: ErrorCounts) -> None:
    """fstalign: "WER: 1/13", "class CARDINAL WER: 1/3", with an insertion and with a deletion inside the class."""
    document = NlpDocument(parse_nlp(ALIGN_4), ways={"0": ways("nineteen eighty eight")})
    assert ClassErrors(total, {"CARDINAL": cardinal}) == class_errors(document_pieces(document), heard.split())


def test_fstalign_twenty() -> None:
    """fstalign: "Wer Entity ID 1 WER: 1/1", ID 0 and ID 2 1/2, ID 3 1/3; here each entity is a type of its own."""
    document = NlpDocument(
        parse_nlp(TWENTY), {name: name for name in "0123"}, {name: ways(text) for name, text in TWENTY_WAYS.items()}
    )
    errors = class_errors(document_pieces(document), "in twenty thirty is one twenty two three".split())
    assert {
        "0": ErrorCounts(2, substitutions=1),
        "1": ErrorCounts(1, deletions=1),
        "2": ErrorCounts(2, substitutions=1),
        "3": ErrorCounts(3, insertions=1),
    } == errors.by_type
    assert ErrorCounts(8, substitutions=1, deletions=1, insertions=1) == errors.total


@pytest.mark.parametrize(
    ("reference", "heard", "errors"),
    [
        ("next-level next", "next level next", 0),
        ("th- the", "th the", 0),
        ("<laugh> yes", "<unk> yes", 0),
        ("a-b", "ab", 1),
    ],
)
def test_fstalign_synonyms(reference: str, heard: str, errors: int) -> None:
    """A compound in two words, a word cut off and a mark are no errors in fstalign, a compound in one word is one."""
    document = NlpDocument(parse_nlp("token\n" + reference.replace(" ", "\n")))
    assert errors == class_errors(document_pieces(document), heard.split()).total.errors


def test_a_published_hypothesis() -> None:
    """Rev's published ESPNet output on Earnings-21, two passages, worked out by hand.

    Wrong are: collin (colin), berner (burner), balboa (bella), continued, virus', through, management, long-term (one
    of its two words) and june (in).
    """
    reference = load_references(EARNINGS)["4386541"]
    assert reference.document is not None
    heard = HypothesisUtterance("S", 0.0, 1.0, (EARNINGS / "4386541.espnet.txt").read_text(encoding="utf-8"))
    errors = class_errors(document_pieces(reference.document), document_words([heard]))
    assert ErrorCounts(128, substitutions=9) == errors.total
    assert {
        "ABBREVIATION": ErrorCounts(2),
        "CARDINAL": ErrorCounts(2),
        "CONTRACTION": ErrorCounts(3),
        "DATE": ErrorCounts(12, substitutions=1),
        "GPE": ErrorCounts(3),
        "PERCENT": ErrorCounts(3),
        "PERSON": ErrorCounts(8, substitutions=3),
        "YEAR": ErrorCounts(2),
    } == errors.by_type
    assert ErrorCounts(14, substitutions=1) == errors.by_class["date"]


def test_a_perfect_hypothesis_has_no_errors() -> None:
    """The excerpt read back, with its punctuation and capitals."""
    reference = load_references(EARNINGS)["4386541"]
    assert reference.lines is not None
    assert reference.document is not None
    errors = class_errors(document_pieces(reference.document), document_words(reference.lines))
    assert {0} == {counts.errors for counts in (errors.total, *errors.by_type.values())}


def test_entities_without_a_place_are_located() -> None:
    """Names and values are looked for in the lines; their words count, an insertion among them too."""
    lines = [HypothesisUtterance("S", 0.0, 5.0, "this is Daniel Brooks, I paid one forty two fifty")]
    entities = [
        ReferenceEntity("person", "Daniel Brooks"),
        ReferenceEntity("amount", "$142.50"),
        ReferenceEntity("person", "Ann"),
    ]
    pieces, missing = located_pieces(lines, entities)
    heard = [HypothesisUtterance("S", 0.0, 5.0, "this is Daniel Van Brock. I paid one forty two fifty")]
    errors = class_errors(pieces, located_words(heard))
    assert missing == 1
    assert {"amount": ErrorCounts(4), "person": ErrorCounts(2, substitutions=1, insertions=1)} == errors.by_type


@given(WORDS, WORDS)
def test_one_way_is_the_edit_distance(reference: Sequence[str], heard: Sequence[str]) -> None:
    """Without a choice there are as many errors as jiwer finds."""
    errors = class_errors([Piece(((word,),)) for word in reference], heard)
    assert count_errors(reference, heard).errors == errors.total.errors
    assert (len(reference), len(heard)) == (errors.total.reference_words, errors.total.hypothesis_words)


@given(PIECES, WORDS)
def test_the_best_way_is_taken(pieces: Sequence[Piece], heard: Sequence[str]) -> None:
    """No choice of one way for each piece has fewer errors, and each piece has the words of one of its ways."""
    ops, outside = best_ops([piece.ways for piece in pieces], heard)
    errors = outside + sum(op != "hit" for found in ops for op in found)
    choices: list[list[str]] = [[]]
    for piece in pieces:
        choices = [[*before, *way] for before in choices[:81] for way in piece.ways]
    assert errors <= min(count_errors(choice, heard).errors for choice in choices)
    for piece, found in zip(pieces, ops, strict=True):
        assert sum(op != "ins" for op in found) in {len(way) for way in piece.ways}
        assert found[0] != "ins" != found[-1]


@given(PIECES, WORDS)
def test_counts_belong_together(pieces: Sequence[Piece], heard: Sequence[str]) -> None:
    """A type has no more words and errors than there are, and hypothesis words are all accounted for."""
    errors = class_errors(pieces, heard)
    assert len(heard) == errors.total.hypothesis_words
    for counts in errors.by_type.values():
        assert counts.reference_words <= errors.total.reference_words
        assert counts.errors <= errors.total.errors
    assert errors == errors + ClassErrors.zero() == ClassErrors.zero() + errors


def test_what_does_not_fit_into_memory_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long passages that have nothing in common are aligned half by half: no word is lost."""
    monkeypatch.setattr(lattice, "MOST_CELLS", 50)
    ops, outside = best_ops([((word,),) for word in "abcdefghijklmnop"], list("ABCDEFGHabcdefgh"))
    assert len(ops) == 16
    assert 16 == outside + sum(op != "del" for found in ops for op in found)
