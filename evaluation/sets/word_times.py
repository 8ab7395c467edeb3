"""Calls whose word times are known, which `evaluation.sets.make_word_times` made: the folder `word_times`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tasks.records import Word

FOLDER: Final = Path(__file__).parent / "word_times"


@dataclass(frozen=True, slots=True)
class TimedCall:
    """A recording at 8 kHz with one channel, and its words in order, with times in seconds and probability 1."""

    call_id: str
    path: Path
    words: tuple[Word, ...]


def parse_words(text: str) -> tuple[str, tuple[Word, ...]]:
    """The call_id and the words of a JSON file.

    Raises:
        KeyError, ValueError: it is something else.
    """
    content = json.loads(text)
    words = tuple(Word(word["text"], float(word["start"]), float(word["end"]), 1.0) for word in content["words"])
    return content["call_id"], words


def load_calls(folder: Path = FOLDER) -> list[TimedCall]:
    """All calls of a folder, by name.

    Raises:
        FileNotFoundError: the folder holds none, or the recording of one is missing.
    """
    calls = []
    for path in sorted(folder.glob("*.json")):
        call_id, words = parse_words(path.read_text(encoding="utf-8"))
        calls.append(TimedCall(call_id, path.with_suffix(".flac"), words))
    missing = [call.path.name for call in calls if not call.path.is_file()]
    if not calls or missing:
        message = f"{folder} lacks {', '.join(missing) or 'calls (*.json and *.flac)'}"
        raise FileNotFoundError(message)
    return calls
