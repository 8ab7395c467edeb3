"""`make docs`: write the tables of the documentation from the code they describe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluation.audio_formats import format_rows
from tasks.schemas import View, column_rows
from tasks.settings import setting_rows

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "evaluation" / "benchmarks"
# The benchmarks whose whole result stands in docs/sound.md.
OF_SOUND = ("snr", "crosstalk", "denoise", "long_calls", "codecs", "loading")
# … and those in docs/recognition.md.
OF_RECOGNITION = (
    "recognition",
    "windows",
    "chunking",
    "nonspeech",
    "word_times",
    "calibration",
    "hot_words",
    "languages",
    "many_calls",
    "gpu",
    "peers",
    "peers_large",
)
# … and those in docs/speakers.md.
OF_SPEAKERS = ("diarization", "voice_bounds", "hand_over", "attribution", "stages")

# … and those in docs/runs.md.
OF_RUNS = ("month", "month_flow")
# … and those in docs/one-machine.md.
OF_ONE_MACHINE = ("devices",)
# … and those in docs/data-set.md, beside the columns of the tables and of the view that is no table.
OF_DATA_SET = ("phrase_search",)
EXPLAINED: tuple[View, ...] = ("calls", "utterances", "changes", "runs")


def tables() -> dict[Path, dict[str, str]]:
    """For each document, the generated table under each marker."""
    header = ("column", "type", "meaning")
    columns: dict[str, str] = {
        str(name): _markdown(header, [(f"`{column}`", kind, text) for column, kind, text in column_rows(name)])
        for name in EXPLAINED
    }
    settings = _markdown(
        ("setting", "default", "meaning"),
        [(f"`{name}`", f"`{default}`" if default else "", text) for name, default, text in setting_rows()],
    )
    measured = (BENCHMARKS / "dev_calls.md").read_text(encoding="utf-8")
    scores = "".join(line for line in measured.splitlines(keepends=True) if line.startswith("|"))
    formats = _markdown(("format", "codec", "container", "a lost end is", "checked by"), format_rows())
    return {
        ROOT / "README.md": {"scores": scores, "settings": settings},
        ROOT / "docs" / "data-set.md": columns | _results(OF_DATA_SET),
        ROOT / "docs" / "formats.md": {"formats": formats},
        ROOT / "docs" / "sound.md": _results(OF_SOUND),
        ROOT / "docs" / "recognition.md": _results(OF_RECOGNITION),
        ROOT / "docs" / "speakers.md": _results(OF_SPEAKERS),
        ROOT / "docs" / "runs.md": _results(OF_RUNS),
        ROOT / "docs" / "one-machine.md": _results(OF_ONE_MACHINE),
    }


def _results(names: Iterable[str]) -> dict[str, str]:
    return {name: (BENCHMARKS / f"{name}.md").read_text(encoding="utf-8") for name in names}


def filled(text: str, generated: dict[str, str]) -> str:
    """A document with what stands between `<!-- NAME begin -->` and `<!-- NAME end -->` replaced."""
    for name, table in generated.items():
        pattern = re.compile(rf"(<!-- {name} begin -->\n).*?(<!-- {name} end -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", text)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        if count != 1:
            message = f"the markers of the table {name!r} must stand in the document once, not {count} times"
            raise ValueError(message)
    return text


def main() -> None:
    """Rewrite every generated table."""
    for path, generated in tables().items():
        path.write_text(filled(path.read_text(encoding="utf-8"), generated), encoding="utf-8")


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
