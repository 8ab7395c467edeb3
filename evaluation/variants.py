"""A variants file: under which settings a set is transcribed, to be compared. Pure but for the settings it builds on.

::

    baseline = "default"                  # what the others are held against; the first variant when left out

    [variants.default]                    # the settings as they are

    [variants.beam-1]
    recognizer.beam_size = 1

    [variants.denoised]
    audio.denoise = "auto"

    [variants.large]
    models.bundle = "production"

    [variants.hot-words]
    recognizer.hot_words = ["Elbridge", "overdraft fee"]

What a variant does not name is as in the environment and the settings file. Only what can change a transcript, or how
long it takes, can be varied.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tasks.errors import SettingsError
from tasks.settings import Settings

GROUPS: Final = (
    "archive", "audio", "vad", "recognizer", "diarization", "utterances", "models", "fallback", "decoder",
)  # fmt: skip
"""The groups of settings that say how a recording is transcribed."""

Overrides: TypeAlias = Mapping[str, Mapping[str, Any]]
Load: TypeAlias = Callable[[Overrides], Settings]
"""From overrides by group and name to checked settings, as `tasks.settings.load_settings` does it."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A name, what it changes by group and name, and the settings that come of it."""

    name: str
    overrides: Overrides
    settings: Settings

    @property
    def told(self) -> str:
        """What it changes, as the settings file would have it; `as set` where nothing."""
        said = [
            f"{group}.{name} = {_toml(value)}" for group, of in self.overrides.items() for name, value in of.items()
        ]
        return ", ".join(said) or "as set"


@dataclass(frozen=True, slots=True)
class Variants:
    """The variants in the order of the file; `baseline` is the name of what the others are held against."""

    each: tuple[Variant, ...]
    baseline: str


def parse_variants(text: str, source: str, load: Load) -> Variants:
    """Read a variants file.

    Args:
        text: TOML.
        source: names it in errors.
        load: makes settings of overrides.

    Raises:
        SettingsError: it is no TOML, names fewer than two variants, or a variant changes what there is not, or to what
            it cannot be; the message names the file, the variant and the setting.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{source} is not valid TOML: {error}"
        raise SettingsError(message) from error
    if unknown := sorted(content.keys() - {"baseline", "variants"}):
        message = f"{source}: {unknown[0]} is nothing that it has: write tables [variants.NAME], and baseline = NAME"
        raise SettingsError(message)
    tables = content.get("variants", {})
    if not isinstance(tables, dict) or len(tables) < 2:  # one is compared with another
        message = f"{source}: two variants at least are compared, each a table [variants.NAME]; it may be empty"
        raise SettingsError(message)
    each = tuple(_variant(name, table, source, load) for name, table in tables.items())
    baseline = content.get("baseline", each[0].name)
    if baseline not in tables:
        message = f"{source}: the baseline {baseline!r} is none of the variants {', '.join(tables)}"
        raise SettingsError(message)
    return Variants(each, baseline)


def _variant(name: str, table: object, source: str, load: Load) -> Variant:
    where = f"{source}, variant {name}"
    if not isinstance(table, dict):
        message = f"{where}: a variant is a table of settings, such as recognizer.beam_size = 1"
        raise SettingsError(message)
    for group, values in table.items():
        if not isinstance(values, dict):
            message = f"{where}: {group}: a setting has a group and a name, such as recognizer.beam_size = 1"
            raise SettingsError(message)
        if group not in GROUPS and group in Settings.model_fields:
            message = f"{where}: {group} changes no transcript: what can be compared is of {', '.join(GROUPS)}"
            raise SettingsError(message)
    try:
        return Variant(name, table, load(table))
    except SettingsError as error:
        message = f"{where}: {error.message}"
        raise SettingsError(message) from error


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
