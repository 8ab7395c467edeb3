"""The programs that `evaluation.benchmarks.peers` compares: how each is installed, started, and its output read.

All get the same recordings, the same CTranslate2 folder of Whisper, the same threads, int8, the same beam, English, and
give word times where they can without a further model. Whatever else is as each does it by default: detection of
speech, context from one window to the next, how a recording is cut. Peers live in virtual environments of their own,
which `install` makes in the user's cache; what runs on our own environment needs none.

Every program writes a JSON file per recording, named after it, in the shape that openai-whisper gave the field:
`segments`, each with `start`, `end` (seconds), `text` and maybe `words`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import platformdirs

from evaluation.hypotheses import HypothesisUtterance
from tasks.records import Word
from tasks.settings import PRIVACY_ENVIRONMENT

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = "ours"
BEAM_SIZE: Final = 5
BATCH_SIZE: Final = 8
LANGUAGE: Final = "en"
_DONE: Final = "installed.txt"
_NAMED: Final = ("ctranslate2", "faster-whisper", "whisper-ctranslate2", "whisperx", "onnxruntime", "torch", "av")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of a peer, made by pip from pinned requirements.

    `ffmpeg`: the peer starts the program of that name; the one inside the wheel of imageio-ffmpeg is put on its path.
    """

    name: str
    requirements: tuple[str, ...]
    ffmpeg: bool = False

    @property
    def folder(self) -> Path:
        """Where it lies, in the user's cache."""
        return Path(platformdirs.user_cache_dir("callscribe", appauthor=False)) / "peers" / self.name

    @property
    def bin(self) -> Path:
        """The folder of its programs."""
        return self.folder / "bin"

    @property
    def installed(self) -> bool:
        """Whether it was installed to its end, with the requirements of today."""
        done = self.folder / _DONE
        return done.is_file() and tuple(done.read_text(encoding="utf-8").splitlines()) == self.requirements


@dataclass(frozen=True, slots=True)
class Work:
    """What a program is asked to do: recordings, the folder of the model, that for its JSON files, and threads.

    `silent`: nobody speaks, and what counts is the time that it takes to load. Programs that do not look for speech
    then do: without, Whisper tries every temperature on a second of silence, which takes longer than loading.
    """

    files: tuple[Path, ...]
    model: Path
    out: Path
    threads: int
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """One way to transcribe: its name in the table, and its command line.

    `environment` is None for programs that run on our own.
    """

    name: str
    command: Callable[[Work], list[str]]
    environment: Environment | None = None

    @property
    def missing(self) -> str | None:
        """What to do where it is not installed; None where it is."""
        if self.environment is None or self.environment.installed:
            return None
        return f"{self.name} is not installed: python -m evaluation.benchmarks.peers install {self.environment.name}"


# The engine is pinned to the version that we run ourselves: programs are compared, not engines.
_ENGINE = ("ctranslate2==4.8.5", "faster-whisper==1.2.1")
ENVIRONMENTS: Final = (
    Environment("whisper-ctranslate2", ("whisper-ctranslate2==0.5.8", *_ENGINE)),
    Environment(
        "whisperx",
        ("whisperx==3.8.6", "torch==2.8.0", "torchaudio==2.8.0", "imageio-ffmpeg==0.8.1", *_ENGINE),
        ffmpeg=True,
    ),
)
_WHISPER_CTRANSLATE2, _WHISPERX = ENVIRONMENTS
# Not a peer, but what the field scores with: it is compiled when it is installed, and thus no dependency of ours.
MEETEVAL: Final = Environment("meeteval", ("meeteval[cli]==0.4.3",))


def ours(work: Work) -> list[str]:
    """Our own pipeline without diarization."""
    module = [sys.executable, "-m", "evaluation.benchmarks.peers_ours", str(work.out)]
    return [*module, "--threads", str(work.threads), *_paths(work)]


def faster_whisper(mode: str) -> Callable[[Work], list[str]]:
    """The library faster-whisper, in one of the modes of `peers_faster_whisper`."""

    def command(work: Work) -> list[str]:
        used = "vad" if work.silent and mode == "no-vad" else mode
        module = [sys.executable, "-m", "evaluation.benchmarks.peers_faster_whisper", used]
        return [*module, str(work.model), str(work.out), str(work.threads), *_paths(work)]

    return command


def whisper_ctranslate2(*, batched: bool) -> Callable[[Work], list[str]]:
    """The command line whisper-ctranslate2: sequential as it comes (no detection of speech), or batched."""

    def command(work: Work) -> list[str]:
        program = [str(_WHISPER_CTRANSLATE2.bin / "whisper-ctranslate2"), "--model_directory", str(work.model)]
        words = ["--word_timestamps", "True", "--local_files_only", "True"]
        how = ["--batched", "True", "--batch_size", str(BATCH_SIZE)] if batched else ["--vad_filter", str(work.silent)]
        return [*program, *words, *how, *_common(work), *_paths(work)]

    return command


def whisperx(work: Work) -> list[str]:
    """The command line whisperX, with the detector of speech in its wheel, and no alignment (a further model)."""
    program = [str(_WHISPERX.bin / "whisperx"), "--model", str(work.model), "--model_cache_only", "True"]
    how = ["--vad_method", "pyannote", "--no_align", "--batch_size", str(BATCH_SIZE)]
    return [*program, *how, *_common(work), *_paths(work)]


PROGRAMS: Final = (
    Program(OURS, ours),
    Program("faster-whisper, VAD", faster_whisper("vad")),
    Program("faster-whisper, no VAD", faster_whisper("no-vad")),
    Program("faster-whisper, batched", faster_whisper("batched")),
    Program("whisper-ctranslate2", whisper_ctranslate2(batched=False), _WHISPER_CTRANSLATE2),
    Program("whisper-ctranslate2, batched", whisper_ctranslate2(batched=True), _WHISPER_CTRANSLATE2),
    Program("whisperX", whisperx, _WHISPERX),
)


def install(environment: Environment) -> None:
    """Make the virtual environment of a peer, anew where its requirements are others than before.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    if environment.installed:
        return
    venv.create(environment.folder, clear=True, with_pip=True)
    python = str(environment.bin / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--quiet"]
    subprocess.run([*pip, *environment.requirements], check=True)
    if environment.ffmpeg:
        where = [python, "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"]
        found = subprocess.run(where, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        (environment.bin / "ffmpeg").symlink_to(found)
    (environment.folder / _DONE).write_text("\n".join(environment.requirements) + "\n", encoding="utf-8")


def child_environment(program: Program, threads: int, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that a program is started with: nothing is fetched, no GPU is looked for, threads are limited."""
    offline = {"HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    limits = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    found = {**given, **PRIVACY_ENVIRONMENT, **offline, **limits}
    if program.environment is not None:
        found["PATH"] = f"{program.environment.bin}{os.pathsep}{found.get('PATH', '')}"
    return found


def parse(text: str) -> tuple[HypothesisUtterance, ...]:
    """Read what a program wrote of one recording; segments without text are dropped.

    Args:
        text: JSON with `segments`; times in seconds. Words have `word` (with the space before it, as Whisper writes
            it), and may lack times where a program could not align them.

    Raises:
        ValueError, KeyError: it is something else.
    """
    content: dict[str, Any] = json.loads(text)
    return tuple(
        HypothesisUtterance(
            "speaker", float(segment["start"]), float(segment["end"]), segment["text"].strip(), _words(segment)
        )
        for segment in content["segments"]
        if segment["text"].strip()
    )


def read_outputs(work: Work) -> dict[str, tuple[HypothesisUtterance, ...]]:
    """What a program wrote, by the stem of the recording; one that it wrote nothing of is not in it."""
    paths = {file.stem: work.out / f"{file.stem}.json" for file in work.files}
    return {stem: parse(path.read_text(encoding="utf-8")) for stem, path in paths.items() if path.is_file()}


def versions(program: Program) -> dict[str, str]:
    """The versions of the packages that matter, in the environment that a program runs in."""
    folder = program.environment.folder if program.environment else Path(sys.prefix)
    sites = [str(path) for path in folder.glob("lib/python*/site-packages")]
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=sites)}
    return {name: found[name] for name in _NAMED if name in found}


def _common(work: Work) -> list[str]:
    """What the command lines of peers call alike."""
    compute = ["--device", "cpu", "--compute_type", "int8", "--threads", str(work.threads)]
    recognise = ["--language", LANGUAGE, "--beam_size", str(BEAM_SIZE)]
    return [*compute, *recognise, "--verbose", "False", "--output_format", "json", "--output_dir", str(work.out)]


def _paths(work: Work) -> list[str]:
    return [str(file) for file in work.files]


def _words(segment: Mapping[str, Any]) -> tuple[Word, ...]:
    """The words of a segment; one without times has those of its segment."""
    return tuple(
        Word(
            word["word"].strip(),
            float(word.get("start", segment["start"])),
            float(word.get("end", segment["end"])),
            float(word.get("probability", word.get("score", 0.0))),
        )
        for word in segment.get("words") or ()
    )
