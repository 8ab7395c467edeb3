"""Telephone numbers: every way of dialling one. Pure.

"+1 415 555 2671", "1 415 555 2671" and "415 555 2671" are one number; so are "+44 20 7946 0958" and "020 7946 0958".
Which digits are the country's code and which a prefix that is dropped abroad is a table of some hundred countries, and
phonenumbers (Google's libphonenumber) is that table. It reads no spoken digits: `evaluation.spoken` does, before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

REGION: Final = "US"
"""Where a number without the code of a country belongs; dates are read as they are written there, too."""


def phone_codes(codes: Iterable[str], *, international: bool) -> frozenset[str]:
    """Give all digits by which the same telephone is reached.

    Args:
        codes: the digits of a number, as `evaluation.spoken.spellings` gives them.
        international: whether they begin with the code of a country ("+").

    Returns:
        The codes themselves, and, where they are possible numbers, those with and without the code of the country.
    """
    return frozenset(way for code in codes for way in _ways(code, international=international))


@lru_cache(maxsize=4096)
def _ways(code: str, *, international: bool) -> frozenset[str]:
    """Give the ways of dialling one number."""
    import phonenumbers

    if not (code.isascii() and code.isdecimal()):
        return frozenset({code})
    try:
        number = phonenumbers.parse(f"{'+' * international}{code}", REGION)
    except phonenumbers.NumberParseException:
        return frozenset({code})
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return frozenset({code})
    significant = phonenumbers.national_significant_number(number)
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    abroad = f"{number.country_code}{significant}"
    return frozenset({code, significant, abroad, f"00{abroad}", "".join(filter(str.isdecimal, national))})
