"""What pydantic finds wrong with a file that somebody wrote, as sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def problems_of(error: ValidationError, of_what: str, meant: Mapping[str, str] | None = None) -> str:
    """Every problem, `; ` between them: the place, counted from 1 in lists, and what is wrong there.

    Args:
        error: what pydantic found.
        of_what: what the fields are of, such as `a case`.
        meant: by place, what should stand there, where pydantic's own words do not help.
    """
    found = []
    for item in error.errors(include_url=False, include_input=False):
        place = " ".join(str(part + 1) if isinstance(part, int) else str(part) for part in item["loc"])
        message = item["msg"]
        if item["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            found.append(f"{place} is no field of {of_what}")
        elif not place:
            found.append(f"{of_what} is a JSON object")
        elif place in (meant or {}):
            found.append(f"{place}: {(meant or {})[place]}")
        elif item["type"].startswith("missing"):
            found.append(f"{place} is missing")
        else:
            found.append(f"{place}: {message[0].lower()}{message[1:]}")
    return "; ".join(found)
