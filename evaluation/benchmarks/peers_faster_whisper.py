"""A whole process of faster-whisper, as its documentation uses it: one of the programs of `peers`.

    python -m evaluation.benchmarks.peers_faster_whisper MODE MODEL OUT THREADS FILE…

MODE is `vad` or `no-vad` (window after window), or `batched` (batches of windows, with its own detection of speech).
Arguments are read without typer, and nothing of ours is imported that takes time: start-up counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

BEAM_SIZE: Final = 5
BATCH_SIZE: Final = 8
MODES: Final = ("vad", "no-vad", "batched")


def main(arguments: Sequence[str]) -> None:
    """Transcribe recordings, and write a JSON file of each.

    Args:
        arguments: mode, folder of the model, folder for the JSON files, threads, recordings.

    Raises:
        SystemExit: the mode is unknown.
    """
    mode, model_folder, out, threads, *files = arguments
    if mode not in MODES:
        raise SystemExit(f"unknown mode {mode}: one of {', '.join(MODES)}")
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(
        model_folder, device="cpu", compute_type="int8", cpu_threads=int(threads), local_files_only=True
    )
    options: dict[str, Any] = {"language": "en", "beam_size": BEAM_SIZE, "word_timestamps": True}
    transcriber: Any = model
    if mode == "batched":
        transcriber = BatchedInferencePipeline(model=model)
        options["batch_size"] = BATCH_SIZE
    else:
        options["vad_filter"] = mode == "vad"
    for file in files:
        segments, _ = transcriber.transcribe(file, **options)
        content = {"segments": [_segment(segment) for segment in segments]}
        Path(out, f"{Path(file).stem}.json").write_text(json.dumps(content), encoding="utf-8")


def _segment(segment: Any) -> dict[str, Any]:  # noqa: ANN401  # faster-whisper brings no types
    words = [
        {"word": word.word, "start": float(word.start), "end": float(word.end), "probability": float(word.probability)}
        for word in segment.words or ()
    ]
    return {"start": float(segment.start), "end": float(segment.end), "text": segment.text, "words": words}


if __name__ == "__main__":
    main(sys.argv[1:])
