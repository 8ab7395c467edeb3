"""Label and field selectors, as they stand in a request."""

import re
from collections.abc import Mapping

from .objects import ApiError, Object

_SET = re.compile(r"^(?P<key>[\w./-]+)\s+(?P<word>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUALITY = re.compile(r"^(?P<key>[\w./-]+)\s*(?P<sign>==|=|!=)\s*(?P<value>[\w./-]*)$")
_PRESENCE = re.compile(r"^(?P<no>!?)\s*(?P<key>[\w./-]+)$")
_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^(]*\))")


def matches_labels(selector: str | None, labels: Mapping[str, str]) -> bool:
    """Whether labels meet a selector; None and "" are met by all.

    Raises:
        ApiError: 400, the selector is not one.

    >>> matches_labels("app=callscribe,!hidden,tier in (job, worker)", {"app": "callscribe", "tier": "job"})
    True
    """
    terms = (term.strip() for term in _COMMA_OUTSIDE_BRACKETS.split(selector or ""))
    return all(_matches_term(term, labels) for term in terms if term)


def _matches_term(term: str, labels: Mapping[str, str]) -> bool:
    if found := _EQUALITY.match(term):
        return (labels.get(found["key"]) == found["value"]) == (found["sign"] != "!=")
    if found := _SET.match(term):
        values = {value.strip() for value in found["values"].split(",")}
        return (labels.get(found["key"]) in values) == (found["word"] == "in")
    if found := _PRESENCE.match(term):
        return (found["key"] in labels) == (not found["no"])
    raise ApiError(400, "BadRequest", f"unable to parse requirement: {term!r}")


def matches_fields(selector: str | None, item: Object) -> bool:
    """Whether an object meets a selector of fields, such as `status.phase!=Running`.

    Raises:
        ApiError: 400, the selector is not one.

    >>> matches_fields("metadata.name=a,status.phase!=Failed", {"metadata": {"name": "a"}, "status": {}})
    True
    """
    for term in filter(None, (selector or "").split(",")):
        found = _EQUALITY.match(term.strip())
        if found is None:
            raise ApiError(400, "BadRequest", f"unable to parse field selector: {term!r}")
        value: object = item
        for name in found["key"].split("."):
            value = value.get(name, "") if isinstance(value, Mapping) else ""
        if (str(value) == found["value"]) != (found["sign"] != "!="):
            return False
    return True
