"""A whole process of ours, without diarization: one of the programs of `peers`.

    python -m evaluation.benchmarks.peers_ours OUT FILE… --threads 2

Everything else is what every run does: decoding in a child process, loudness, detection of speech, measurements,
recognition, attribution, utterances. Peers tell no speakers apart here, so that a stand-in says that one person speaks
all the time, and the models of diarization are not loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.settings import Settings, load_settings, prepare_environment, restart_with_huge_pages

if TYPE_CHECKING:
    from tasks.schemas import Row


def settings_for(threads: int) -> Settings:
    """The settings of the comparison: those of the user, with device, type, beam, threads and language fixed."""
    return load_settings(
        overrides={
            "models": {"device": "cpu", "compute_type": "int8"},
            "recognizer": {"beam_size": 5, "cpu_threads": threads},
            "archive": {"language": "en"},
        }
    )


def segment(row: Row) -> dict[str, Any]:
    """An utterance in the shape in which peers write a segment; times in seconds."""
    words = [
        {"word": word["text"], "start": word["start"], "end": word["end"], "probability": word["probability"]}
        for word in row["words"]
    ]
    return {"start": row["start"], "end": row["end"], "text": row["text"], "words": words}


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the JSON files.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings.")],
    threads: Annotated[int, typer.Option(help="Threads of the recogniser.", min=1)] = 2,
) -> None:
    """Transcribe recordings, and write a JSON file of each; those that fail are named, and have none."""
    # What takes time to import is imported after the restart below, as in `callscribe`.
    from evaluation.benchmarks.one_speaker import load
    from tasks.local import local_calls, transcribe_files

    prepare_environment()
    settings = settings_for(threads)
    models = load(settings)
    for file, found in zip(files, transcribe_files(local_calls(files, None, settings), models, settings), strict=True):
        if found.call["outcome"] == "failed":
            typer.echo(f"{file.name}: {found.call['error']}", err=True)
            continue
        content = {"segments": [segment(row) for row in found.utterances]}
        (out / f"{file.stem}.json").write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    restart_with_huge_pages()  # as `callscribe` does
    typer.run(main)
