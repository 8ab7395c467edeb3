"""Entities by class: what types mean, and the values of numbers, ids, telephones, addresses, years and terms."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.entities import entity_score
from evaluation.entity_classes import CLASSES, class_of, kind_of
from evaluation.hypotheses import HypothesisUtterance
from evaluation.quantities import numbers
from evaluation.references import ReferenceEntity
from evaluation.spoken import text_atoms
from evaluation.values import Number, read

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NATO = (
    "alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo"
    " sierra tango uniform victor whiskey xray yankee zulu"
).split()


def in_words(number: int) -> str:
    """Spell a number below a million out."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    unit, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = number % unit
    return f"{in_words(number // unit)} {name}" + (f" {in_words(rest)}" if rest else "")


def is_found(kind: str, reference: str, heard: str) -> bool:
    """Whether a reference entity is found in what was heard."""
    heard_at = [HypothesisUtterance("S", 0.0, 1.0, heard)]
    return entity_score([ReferenceEntity(kind, reference)], heard_at).counts.correct == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("amount", "money"),
        ("MONEY", "money"),
        ("PERSON", "person"),
        ("agent_name", "person"),
        ("ORG", "organisation"),
        ("organization", "organisation"),
        ("DATE", "date"),
        ("YEAR", "date"),
        ("birth_date", "date"),
        ("CARDINAL", "number"),
        ("ORDINAL", "number"),
        ("PERCENT", "number"),
        ("phone", "phone"),
        ("home-phone", "phone"),
        ("phone_number", "phone"),
        ("invoice_number", "id"),
        ("customer_id", "id"),
        ("ALPHANUMERIC", "id"),
        ("zip_code", "address"),
        ("billing address", "address"),
        ("PRODUCT", "product"),
        ("GPE", "gpe"),
        ("WORK_OF_ART", "work_of_art"),
        ("mood", "mood"),
    ],
)
def test_types_belong_to_classes(kind: str, expected: str) -> None:
    """The types of several vocabularies mean ten classes; others stay what they are."""
    assert expected == class_of(kind)


def test_classes_are_their_own() -> None:
    """The name of a class is a type of it, and the ways of looking are few."""
    assert list(CLASSES) == [class_of(name) for name in CLASSES]
    assert {kind_of(kind) for kind in ("zip_code", "id", "invoice_number")} == {"code"}
    assert (kind_of("YEAR"), kind_of("amount"), kind_of("GPE"), kind_of("term")) == ("year", "amount", "words", "term")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1.5 million", "1500000", ""),
        ("one point five million", "1500000", ""),
        ("one and a half million", "1500000", ""),
        ("two and a half", "2.5", ""),
        ("zero point zero five", "0.05", ""),
        ("35%", "35", "%"),
        ("thirty five percent", "35", "%"),
        ("thirty-five per cent", "35", "%"),
        ("twenty nine point four percent", "29.4", "%"),
        ("3rd", "3", "th"),
        ("third", "3", "th"),
        ("twenty first", "21", "th"),
        ("one hundred and fifth", "105", "th"),
        ("four four seven one", "4471", ""),
        ("forty four seventy one", "4471", ""),
        ("4,471", "4471", ""),
        ("twenty twenty", "2020", ""),
    ],
)
def test_numbers_are_read(text: str, value: str, unit: str) -> None:
    """A number is one value however it is said, and a percentage or an ordinal another."""
    (reading,) = read(text_atoms(text), numbers)
    assert Number(Decimal(value), unit) in reading.values


@pytest.mark.parametrize(
    ("kind", "reference", "heard", "expected"),
    [
        ("CARDINAL", "25 million", "over twenty five million of savings", True),
        ("CARDINAL", "25", "over 25 million", False),
        ("number", "35%", "35 higher", False),
        ("number", "third", "three", False),
        ("number", "fifteen", "in Q15", False),
        ("money", "$2.25", "$2.25 cents a share", True),
        # Ids, in every way of spelling.
        ("invoice", "INV-23891", "I N V two three eight nine one", True),
        ("invoice", "INV-23891", "India November Victor 2 3 8 9 1", True),
        ("invoice", "INV-23891", "I as in India, N as in Nancy, V for Victor, twenty three eight nine one", True),
        ("invoice", "INV-23891", "I N B 2 3 8 9 1", False),
        ("invoice", "INV-23891", "I N V 2 3 8 9", False),
        ("account", "four four seven one", "4471", True),
        ("ALPHANUMERIC", "10-Q", "our form ten Q", True),
        ("ALPHANUMERIC", "28th", "september twenty eighth", True),
        # Telephones, with the code of the country or without.
        ("phone", "+1 415 555 2671", "four one five, five five five, two six seven one", True),
        ("phone", "415-555-2671", "plus 1 415 555 2671", True),
        ("phone", "+44 20 7946 0958", "oh two oh seven nine four six oh nine five eight", True),
        ("phone", "+44 20 7946 0958", "0044 20 7946 0958", True),
        ("phone", "+44 20 7946 0958", "20 7946 0959", False),
        ("phone", "415-555-2671", "555 2671", False),
        # Addresses.
        ("address", "123 Main St.", "one twenty three main street", True),
        ("address", "123 Main Street, Apt 4", "it is one two three Main St apartment four", True),
        ("address", "15 Fifth Avenue", "15 5th Ave.", True),
        ("address", "8 West 21st Street", "eight west twenty first street", True),
        ("address", "St. James Road 7", "saint james rd seven", True),
        ("address", "123 Main St.", "132 main street", False),
        ("address", "123 Main St.", "123 main avenue", False),
        # Years and dates.
        ("YEAR", "2026", "in twenty twenty six", True),
        ("date", "2019", "in two thousand nineteen", True),
        ("date", "March 3rd", "the third of March", True),
        ("date", "March 3rd", "the third of May", False),
        # Products and terms, in one word or several.
        ("product", "voice mail", "my voicemail is full", True),
        ("product", "voicemail", "my voice-mail is full", True),
        ("id", "TEN-4471", "it is T E N four four seven one", True),
        ("id", "TEN-4471", "it is ten four four seven one", True),
        ("product", "PowerPlus", "the power plus tariff", True),
        ("product", "PowerPlus", "the power tariff", False),
        ("person", "Lopez-Balboa", "mr lopez balboa", True),
    ],
)
def test_what_counts_as_found(kind: str, reference: str, heard: str, expected: bool) -> None:
    """The value must be there, whatever the spelling."""
    assert expected is is_found(kind, reference, heard)


@given(st.integers(0, 999_999))
def test_numbers_in_words_and_digits_are_one(number: int) -> None:
    """A number is found however it is written, from either side."""
    ways = [str(number), f"{number:,}", in_words(number)]
    assert all(is_found("number", one, f"it is {other} then") for one in ways for other in ways)


@given(st.text("ABCDEFGHIJKLMNPQRSTUVWXYZ", min_size=1, max_size=4), st.from_regex(r"[0-9]{4,6}", fullmatch=True))
def test_ids_are_one_in_every_spelling(letters: str, digits: str) -> None:
    """An id is found however it is spelled."""
    spelled = " ".join(ONES[int(digit)] for digit in digits)
    nato = " ".join(NATO[ord(letter) - ord("A")] for letter in letters)
    ways = [f"{letters}-{digits}", f"{letters}{digits}", f"{' '.join(letters)} {spelled}", f"{nato} {spelled}"]
    assert all(is_found("id", ways[0], f"that is {way}.") for way in ways)


@given(st.from_regex(r"[2-9][0-9]{2}[2-9][0-9]{6}", fullmatch=True))
def test_telephones_are_one_in_every_spelling(digits: str) -> None:
    """A number of North America is found in groups, in words, and with the code of the country."""
    spelled = " ".join(ONES[int(digit)] for digit in digits)
    groups = f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"
    ways = [digits, groups, spelled, f"+1 {groups}", f"plus one {spelled}"]
    assert all(is_found("phone", one, other) for one in ways for other in ways)
