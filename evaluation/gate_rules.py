"""The rules of a gate: what a set must show of its transcripts, read from a TOML file. Pure.

A gate file has thresholds, and rules that hold a run against the one that was accepted last::

    [[threshold]]
    measure = "entity_recall.money"  # any key of the figures in `callscribe evaluate SET --json`
    min = 0.95                       # in the measure's own unit: a share is 0 to 1
    confident = true                 # the lower bound of its interval must be it, too
    calls = 20                       # of fewer calls with anything to say of it, it cannot be told, and fails;
                                     # recordings of one call are one, as for intervals
    words = 2000                     # the same of words of the references
    slice = "tag: noisy"             # of these calls only: dimension and value, as in the report

    [[no_slice_worse]]               # no slice, and not the whole set either,
    measure = "wer"
    points = 2                       # is so many percentage points (or units) worse than the last accepted run,
    significant = true               # where that is unlikely to be chance

`evaluation.gate` says whether they hold.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from evaluation.invalid import problems_of
from tasks.errors import SettingsError

Number = Annotated[float, Field(allow_inf_nan=False)]


def _listed(value: object) -> object:
    """One rule may be a table instead of a list of one."""
    return [value] if isinstance(value, Mapping) else value


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a measure must be at least or at most, over all calls or those of a slice; see the module."""

    measure: str
    min: Number | None = None
    max: Number | None = None
    confident: bool = False
    calls: Annotated[int, Field(ge=1)] = 1
    words: Annotated[int, Field(ge=0)] = 0
    slice: Annotated[str, Field(pattern=r"^[a-z]+: *\S")] | None = None

    @property
    def place(self) -> tuple[str, str] | None:
        """The slice as (dimension, value); None: all calls."""
        if self.slice is None:
            return None
        dimension, _, value = self.slice.partition(":")
        return dimension, value.strip()


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class NoSliceWorse:
    """By how much no slice may be worse than the last accepted run; `dimensions` are those looked at, all if empty."""

    measure: str = "wer"
    points: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    significant: bool = True
    dimensions: tuple[str, ...] = ()


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The rules of a gate file; `name` is that of the history of what was accepted, the set's when None."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] | None = None
    threshold: Annotated[tuple[Threshold, ...], BeforeValidator(_listed)] = ()
    no_slice_worse: Annotated[tuple[NoSliceWorse, ...], BeforeValidator(_listed)] = ()


_GATE: Final = TypeAdapter(Gate)


def parse_gate(text: str, source: str) -> Gate:
    """Read a gate file.

    Args:
        text: TOML.
        source: names it in errors.

    Raises:
        SettingsError: it is no TOML, holds no rule, or a rule says something that there is not.
    """
    try:
        gate = _GATE.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message = f"{source} is not valid TOML: {error}"
        raise SettingsError(message) from error
    except ValidationError as error:
        message = f"{source}: {problems_of(error, 'a gate')}"
        raise SettingsError(message) from error
    for number, one in enumerate(gate.threshold, start=1):
        if (one.min is None) == (one.max is None):
            message = f"{source}: threshold {number} ({one.measure}): say min or max, one of the two"
            raise SettingsError(message)
    if not (gate.threshold or gate.no_slice_worse):
        message = f"{source} has no rule: write a table [[threshold]] or [[no_slice_worse]]"
        raise SettingsError(message)
    return gate
