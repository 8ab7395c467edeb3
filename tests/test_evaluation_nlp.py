"""Tagged references: `.nlp` files with their sidecars."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.nlp_format import (
    NlpDocument,
    NlpEntity,
    NlpToken,
    parse_nlp,
    parse_norm,
    parse_wer_tags,
    serialise_nlp,
    serialise_wer_tags,
)
from evaluation.references import ReferenceEntity, ReferenceFileError, StmLine, collect_references, load_references

EARNINGS = Path(__file__).parent / "data" / "earnings21"
HEADER = "token|speaker|ts|endTs|punctuation|case|tags|wer_tags\n"
FIELD = st.text(st.characters(exclude_characters="|\n\r'", exclude_categories=["C", "Z"]), max_size=5)
NAME = FIELD.filter(lambda text: bool(text) and ":" not in text)
TOKENS = st.builds(
    NlpToken,
    FIELD.filter(bool),
    FIELD,
    st.none() | st.floats(0, 1e4),
    st.none() | st.floats(0, 1e4),
    FIELD,
    st.sampled_from(["UC", "LC", "CA", "MC", ""]),
    st.lists(st.tuples(NAME, NAME), max_size=2).map(tuple),
    st.lists(NAME, max_size=3).map(tuple),
)


@given(st.lists(TOKENS, max_size=5))
def test_what_is_written_is_read(tokens: list[NlpToken]) -> None:
    """An `.nlp` file keeps everything of its tokens."""
    assert tuple(tokens) == parse_nlp(serialise_nlp(tokens))


def test_the_excerpt_is_read_and_written() -> None:
    """Real files of Earnings-21 are written back byte by byte."""
    nlp, types = ((EARNINGS / f"4386541.{kind}").read_text(encoding="utf-8") for kind in ("nlp", "wer_tag.json"))
    assert nlp == serialise_nlp(parse_nlp(nlp))
    assert types == serialise_wer_tags(parse_wer_tags(types)) + "\n"


def test_the_excerpt_is_a_reference() -> None:
    """Turns are lines without times, entities have their types, and the document its places."""
    reference = load_references(EARNINGS)["4386541"]
    assert reference.lines is not None
    assert reference.document is not None
    assert ["0", "1", "2"] == [line.speaker for line in reference.lines]
    assert reference.lines[2].text.endswith("with September finishing 35% higher than June.")
    assert {(0.0, 0.0)} == {(line.start, line.end) for line in reference.lines}
    assert reference.entities is not None
    assert ReferenceEntity("GPE", "the Cumulus Media", "0") == reference.entities[0]
    assert "CONTRACTION" not in {entity.type for entity in reference.entities}
    assert NlpEntity("1", "GPE", 2, 5) == reference.document.entities[0]
    assert (("twenty", "twenty"), ("two", "thousand", "and", "twenty")) == reference.document.ways["3"][:2]


def test_columns_are_found_by_name() -> None:
    """Other columns, fewer columns and times are understood; the type stands in the tag where no sidecar is."""
    text = "speaker|token|endTs|ts|tags|other\n1|INV|2.5|1.5|['0:ALPHANUMERIC']|x\n1|one|3.5|3|[]|\n2|bye|||[]|y\n"
    reference = collect_references([("a.nlp", text)])["a"]
    assert (StmLine("a", 1, "1", 1.5, 3.5, "INV one"), StmLine("a", 1, "2", 0.0, 0.0, "bye")) == reference.lines
    assert (ReferenceEntity("ALPHANUMERIC", "INV", "1", 1.5, 2.5),) == reference.entities


def test_a_number_is_whole_and_counts_once() -> None:
    """Earnings-21 tags "25" and "million" apart, and "25" twice; another run of an entity is another mention."""
    tokens = tuple(
        NlpToken(text, wer_tags=tags)
        for text, tags in [("over", ()), ("25", ("1", "2")), ("million", ("3",)), ("now", ()), ("25", ("1",))]
    )
    document = NlpDocument(tokens, dict.fromkeys("123", "CARDINAL"))
    files = [("a.nlp", serialise_nlp(tokens)), ("a.wer_tag.json", serialise_wer_tags(document.types))]
    entities = collect_references(files)["a"].entities
    assert (ReferenceEntity("CARDINAL", "25 million"), ReferenceEntity("CARDINAL", "25")) == entities
    assert [(1, 2), (1, 2), (2, 3), (4, 5)] == [(entity.first, entity.end) for entity in document.entities]


def test_an_entity_that_the_sidecar_lacks_is_unknown() -> None:
    """Such are in Earnings-21."""
    files = {"a.nlp": f"{HEADER}x|||||LC|[]|['7']\n", "a.wer_tag.json": "{}"}
    assert (ReferenceEntity("unknown", "x"),) == collect_references(files.items())["a"].entities


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.nlp": "x|y\n"}, "a.nlp, line 1: no header"),
        ({"a.nlp": f"{HEADER}x|1\n"}, "a.nlp, line 2: 2 columns"),
        ({"a.nlp": f"{HEADER}x|1|||.|LC|[]|[]\n|1|||.|LC|[]|[]\n"}, "a.nlp, line 3: an empty token"),
        ({"a.nlp": f"{HEADER}x|1|soon||.|LC|[]|[]\n"}, "a.nlp, line 2: could not convert"),
        ({"a.nlp": f"{HEADER}x|1|||.|LC|[0]|[]\n"}, r"a.nlp, line 2: '\[0\]' is no list"),
        ({"a.nlp": f"{HEADER}x|1|||.|LC|['0']|[]\n"}, "a.nlp, line 2: '0' is not of the form ID:TYPE"),
        ({"a.nlp": f"{HEADER}x|1|||.|LC|[]|['0']\n"}, "a.nlp: a.wer_tag.json, which says what entity 0 is"),
        ({"a.nlp": HEADER, "a.wer_tag.json": "{\n0"}, "a.wer_tag.json, line 2: no JSON"),
        ({"a.nlp": HEADER, "a.wer_tag.json": '{"0": {}}'}, "a.wer_tag.json: entity 0 has no `entity_type`"),
        ({"a.nlp": HEADER, "a.norm.json": "[]"}, "a.norm.json: no JSON object"),
        ({"a.nlp": HEADER, "a.norm.json": '{"0": {"candidates": [{}]}}'}, "a.norm.json: malformed candidates"),
        ({"a.nlp": HEADER, "a.stm": "a 1 s 0 1 hello\n"}, "call a has a reference of this kind"),
    ],
)
def test_errors_name_file_and_line(files: dict[str, str], problem: str) -> None:
    """Whatever is wrong, the error says where."""
    with pytest.raises(ReferenceFileError, match=problem):
        collect_references(files.items())


def test_what_cannot_be_carried_is_refused() -> None:
    """A pipe would make another column."""
    with pytest.raises(ValueError, match=r"cannot stand in an \.nlp file"):
        serialise_nlp([NlpToken("a|b")])


def test_ways_are_words() -> None:
    """Of a `.norm.json` the words are kept, in their order."""
    text = '{"0": {"candidates": [{"probability": 0.5, "verbalization": ["ten", "Q"]}], "class": "ALPHANUMERIC"}}'
    assert {"0": (("ten", "Q"),)} == parse_norm(text)
