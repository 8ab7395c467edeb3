"""The classes by which entities are reported, and how an entity of a type is looked for. Pure.

Reference files name types as their makers please: `amount` here, `MONEY` in OntoNotes and spaCy, `invoice_number`
elsewhere. `class_of` maps them to ten classes; a type that is none of them (`GPE`, `NORP`, `ABBREVIATION`, …) stays a
class of its own, in lower case, rather than being pressed into one.

============  =========================================================================================
person        person, per, and every `…_name` of somebody
organisation  organisation, organization, org, company
date          date, year, birthday, and every `…_date`
time          time
money         money, amount, price, balance, and every `…_amount`
number        number, cardinal, ordinal, percent, quantity
phone         phone, and every `…phone`, `…phone_number`
id            id, account, invoice, order, code, alphanumeric, and every other `…_number`, `…_id`
address       address, street, zip_code, postcode
product       product, term, and every `…_term`
============  =========================================================================================

Labels of Earnings-21 (Del Rio et al. 2021) and OntoNotes 5 are in capitals and mean the same.

How a value is looked for hangs on the type itself (`kind_of`): a zip code is part of an address and looked for as a
code, a year is part of a date and looked for as a number.
"""

from __future__ import annotations

from typing import Final

CLASSES: Final = ("person", "organisation", "date", "time", "money", "number", "phone", "id", "address", "product")
"""In the order in which they are reported."""

_TYPES: Final = {
    "person": "person per name caller agent customer",
    "organisation": "organisation organization org company employer",
    "date": "date year birthday dob date_of_birth",
    "time": "time",
    "money": "money amount price balance fee",
    "number": "number cardinal ordinal percent percentage quantity decimal",
    "phone": "phone telephone phone_number telephone_number mobile fax fax_number",
    "id": "id account invoice order reference code alphanumeric",
    "address": "address street street_address zip zip_code postcode postal_code",
    "product": "product term product_name",
}
_CLASS_OF: Final = {kind: name for name, kinds in _TYPES.items() for kind in kinds.split()}
_ENDINGS: Final = (
    ("phone", "phone"),
    ("phone_number", "phone"),
    ("_number", "id"),
    ("_id", "id"),
    ("_date", "date"),
    ("_amount", "money"),
    ("_name", "person"),
    ("_term", "product"),
    ("_address", "address"),
)
_CODES: Final = frozenset({"zip", "zip_code", "postcode", "postal_code"})
_KINDS: Final = {
    "money": "amount",
    "date": "date",
    "time": "time",
    "number": "number",
    "phone": "phone",
    "id": "code",
    "address": "address",
    "product": "term",
}


def class_of(kind: str) -> str:
    """Give the class of a type of entity.

    Args:
        kind: as it stands in a reference file, in any case.

    Returns:
        One of `CLASSES`, or the type itself in lower case when it is of none.
    """
    name = kind.strip().lower().replace("-", "_").replace(" ", "_")
    ends = (found for ending, found in _ENDINGS if name.endswith(ending))
    return _CLASS_OF.get(name) or next(ends, name)


def kind_of(kind: str) -> str:
    """Say how entities of a type are looked for.

    Returns:
        `amount`, `date`, `time`, `number` or `year` (by value), `code` or `phone` (by digits and letters), `address`,
        `term` (words that may be joined), or `words`.
    """
    name = kind.strip().lower()
    if name in _CODES:
        return "code"
    if name == "year":
        return "year"
    return _KINDS.get(class_of(name), "words")
