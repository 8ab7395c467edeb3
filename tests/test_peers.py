"""Whole processes beside each other: what programs write is read, rounds alternate, ratios and tables are right.

No peer and no model is needed: programs here are lines of Python.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from evaluation.benchmarks import peers_programs
from evaluation.benchmarks.one_speaker import OneSpeaker
from evaluation.benchmarks.peers import (
    ProgramFailedError,
    app,
    find_corpus,
    listen_to_no_speech,
    measure,
    note,
    run,
    slug,
    summary,
)
from evaluation.benchmarks.peers_ours import segment, settings_for
from evaluation.benchmarks.peers_programs import (
    ENVIRONMENTS,
    OURS,
    PROGRAMS,
    Environment,
    Program,
    Work,
    child_environment,
    parse,
    read_outputs,
)
from evaluation.benchmarks.peers_table import (
    Cost,
    Measured,
    NoSpeech,
    Round,
    count_errors,
    count_words,
    markdown,
    order,
    program_table,
    ratio_table,
    ratios,
    rtfx,
    spread,
)
from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import ErrorCounts
from evaluation.references import Reference, StmLine
from tasks.records import Turn, Word
from tasks.tracks import Track

FASTER_WHISPER = {
    "segments": [
        {
            "start": 0.24,
            "end": 1.96,
            "text": " Hello, this is",
            "words": [
                {"word": " Hello,", "start": 0.24, "end": 1.3, "probability": 0.75},
                {"word": " this", "start": 1.74, "end": 1.8, "probability": 0.99},
                {"word": " is", "start": 1.8, "end": 1.96, "probability": 0.99},
            ],
        },
        {"start": 2.0, "end": 3.0, "text": " ", "words": []},
    ]
}
WHISPER_CTRANSLATE2 = {
    "text": " Hi.",
    "segments": [
        {
            "id": 1,
            "seek": 3000,
            "start": 1.5,
            "end": 2.5,
            "text": " Hi.",
            "tokens": [1, 2],
            "avg_logprob": -0.3,
            "compression_ratio": 1.0,
            "no_speech_prob": 0.1,
            "words": [{"start": 1.5, "end": 2.5, "word": " Hi.", "probability": 0.9}],
            "temperature": 0.0,
        }
    ],
    "language": "en",
}
WHISPERX = {"segments": [{"text": " Hi there.", "start": 0.031, "end": 27.5, "avg_logprob": -0.2}], "language": "en"}
WHISPERX_ALIGNED = {
    "segments": [
        {
            "start": 1.0,
            "end": 2.0,
            "text": " Pay 5",
            "words": [{"word": "Pay", "start": 1.0, "end": 1.5, "score": 0.8}, {"word": "5"}],
        }
    ]
}


def said(text: str) -> HypothesisUtterance:
    """An utterance of a second."""
    return HypothesisUtterance("speaker", 0.0, 1.0, text)


def cost(wall_s: float, cpu_s: float = 1.0, memory: int = 100_000_000) -> Cost:
    """A cost."""
    return Cost(wall_s, cpu_s, memory)


def measured(name: str, *walls_s: float, load_s: float = 1.0, counts: ErrorCounts | None = None) -> Measured:
    """A program with a round for each wall time."""
    rounds = tuple(Round(cost(load_s), cost(wall_s, cpu_s=2 * wall_s)) for wall_s in walls_s)
    return Measured(name, files=2, written=2, audio_s=120.0, rounds=rounds, counts=counts)


def work(tmp_path: Path, *names: str) -> Work:
    """Work on recordings of these names, which need not be there."""
    return Work(tuple(tmp_path / name for name in names), tmp_path / "model", tmp_path / "out", threads=2)


def python(name: str, code: str) -> Program:
    """A program that is a line of Python; its arguments are the folder to write to and the recordings."""
    return Program(name, lambda asked: [sys.executable, "-c", code, str(asked.out), *map(str, asked.files)])


WRITES = (
    "import json, pathlib, sys\n"
    "for file in sys.argv[2:]:\n"
    "    content = {'segments': [{'start': 0, 'end': 1, 'text': ' red green'}]}\n"
    "    pathlib.Path(sys.argv[1], pathlib.Path(file).stem + '.json').write_text(json.dumps(content))\n"
)


# ------------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (FASTER_WHISPER, [(0.24, 1.96, "Hello, this is", ["Hello,", "this", "is"])]),
        (WHISPER_CTRANSLATE2, [(1.5, 2.5, "Hi.", ["Hi."])]),
        (WHISPERX, [(0.031, 27.5, "Hi there.", [])]),
        (WHISPERX_ALIGNED, [(1.0, 2.0, "Pay 5", ["Pay", "5"])]),
        ({"segments": []}, []),
    ],
)
def test_what_programs_write_is_read(written: object, expected: list[tuple[float, float, str, list[str]]]) -> None:
    """Segments with text, with their words where there are any."""
    found = parse(json.dumps(written))
    assert expected == [(one.start, one.end, one.text, [word.text for word in one.words]) for one in found]


def test_a_word_that_was_not_aligned_has_the_times_of_its_segment() -> None:
    """WhisperX leaves numbers without times."""
    (found,) = parse(json.dumps(WHISPERX_ALIGNED))
    assert (Word("Pay", 1.0, 1.5, 0.8), Word("5", 1.0, 2.0, 0.0)) == found.words


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"segments": [{"text": "a"}]}'])
def test_something_else_is_refused(text: str) -> None:
    """No half-read transcript passes for an empty one."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse(text)


def test_recordings_without_a_transcript_are_not_there(tmp_path: Path) -> None:
    """A file is found by the stem of its recording; an empty one is a transcript."""
    asked = work(tmp_path, "a.mono.wav", "b.wav", "c.wav")
    asked.out.mkdir()
    (asked.out / "a.mono.json").write_text(json.dumps(WHISPERX))
    (asked.out / "c.json").write_text('{"segments": []}')
    assert {"a.mono": ["Hi there."], "c": []} == {
        stem: [one.text for one in found] for stem, found in read_outputs(asked).items()
    }


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_command_lines_name_everything(program: Program, tmp_path: Path) -> None:
    """Every program gets recordings, folder and threads; all but ours, which asks its settings, the model."""
    asked = work(tmp_path, "a.wav", "b.wav")
    command = program.command(asked)
    for file in asked.files:
        assert str(file) in command
    assert {str(asked.out), "2"} <= set(command)
    assert (program.name != OURS) == (str(asked.model) in command)


def test_programs_without_detection_of_speech_use_it_for_silence(tmp_path: Path) -> None:
    """Else Whisper tries every temperature on it, which is not loading."""
    by_name = {program.name: program for program in PROGRAMS}
    spoken = work(tmp_path, "a.wav")
    silent = Work(spoken.files, spoken.model, spoken.out, spoken.threads, silent=True)
    library = by_name["faster-whisper, no VAD"]
    assert ("no-vad", "vad") == (library.command(spoken)[3], library.command(silent)[3])
    program = by_name["whisper-ctranslate2"]
    found = [command[command.index("--vad_filter") + 1] for command in map(program.command, (spoken, silent))]
    assert ["False", "True"] == found


def test_children_are_offline_and_limited() -> None:
    """Nothing is fetched, no GPU is looked for, and a peer finds its own programs first."""
    peer = next(program for program in PROGRAMS if program.environment is not None)
    assert peer.environment is not None
    found = child_environment(peer, 2, {"PATH": "/bin", "HF_HUB_OFFLINE": "0"})
    assert f"{peer.environment.bin}:/bin" == found["PATH"]
    assert ("1", "1", "", "2") == tuple(
        found[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    )
    assert "/bin" == child_environment(PROGRAMS[0], 2, {"PATH": "/bin"})["PATH"]


def test_a_peer_is_installed_when_its_requirements_are_those_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation that broke off, or one of other versions, is none; the sentence says what to type."""
    monkeypatch.setattr(peers_programs.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path))
    environment = Environment("some-peer", ("a==1", "b==2"))
    program = Program("some peer", lambda _: [], environment)
    assert tmp_path / "peers" / "some-peer" == environment.folder
    assert program.missing == ("some peer is not installed: python -m evaluation.benchmarks.peers install some-peer")
    environment.folder.mkdir(parents=True)
    (environment.folder / "installed.txt").write_text("a==1\n")
    assert not environment.installed
    (environment.folder / "installed.txt").write_text("a==1\nb==2\n")
    assert program.missing is None


def test_an_utterance_of_ours_is_read_as_that_of_a_peer() -> None:
    """What our process writes goes through the same reader."""
    words = [{"text": "$89.95", "start": 1.0, "end": 2.0, "probability": 0.5, "channel": 0}]
    row = {"speaker": "SPEAKER_00", "start": 1.0, "end": 2.0, "text": "$89.95", "words": words}
    (found,) = parse(json.dumps({"segments": [segment(row)]}))
    assert HypothesisUtterance("speaker", 1.0, 2.0, "$89.95", (Word("$89.95", 1.0, 2.0, 0.5),)) == found


def test_one_speaker_talks_all_the_time(tmp_path: Path) -> None:
    """The stand-in of the diarizer, and the settings that all programs share."""
    assert (Turn(0.0, 2.0, "SPEAKER_00"),) == OneSpeaker().diarize(Track(tmp_path / "none", 32_000)).exclusive
    settings = settings_for(3)
    assert ("cpu", "int8") == (settings.models.device, settings.models.compute_type)
    assert (5, 3, "en") == (
        settings.recognizer.beam_size,
        settings.recognizer.cpu_threads,
        settings.archive.language,
    )


# --------------------------------------------------------------------------------------------------------- tables


def test_rounds_alternate() -> None:
    """Forwards, backwards, forwards."""
    assert [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]] == [order("abc", round_) for round_ in range(3)]


def test_ratios_are_made_round_by_round() -> None:
    """The median of ratios, not the ratio of medians; a round without anything left is left out."""
    mine, other = measured(OURS, 2.0, 30.0, 4.0), measured("peer", 4.0, 10.0, 4.0)
    assert [0.5, 3.0, 1.0] == ratios(mine, other, lambda one: one.whole.wall_s)
    assert [pytest.approx(1 / 3), pytest.approx(29 / 9), 1.0] == ratios(mine, other, lambda one: one.work_s)
    assert [3.0] == ratios(measured(OURS, 0.5, 4.0), measured("peer", 4.0, 2.0), lambda one: one.work_s)
    row = ratio_table([mine, other], OURS)[2]
    assert "| peer | 1.00 (0.50 to 3.00) | 1.00 (0.33 to 3.22) | 1.00 (0.50 to 3.00) | 1.00 (1.00 to 1.00) |" == row


@pytest.mark.parametrize("names", [[OURS], ["peer"], []])
def test_there_are_no_ratios_without_ours_and_a_peer(names: list[str]) -> None:
    """Nothing to compare with."""
    assert [] == ratio_table([measured(name, 2.0) for name in names], OURS)
    assert "ours /" not in markdown([measured(name, 2.0) for name in names], OURS)


@pytest.mark.parametrize(("found", "expected"), [([], "n/a"), ([2.0], "2.0"), ([3.0, 1.0, 2.0], "2.0 (1.0 to 3.0)")])
def test_spreads(found: list[float], expected: str) -> None:
    """A median, with its range where there are several."""
    assert expected == spread(found, 1)


def test_speed_is_undefined_where_no_time_is_left() -> None:
    """A process that took no longer than its load says nothing about speed."""
    assert ("60.0", "n/a", "n/a") == (rtfx(120.0, 2.0), rtfx(120.0, 0.0), rtfx(120.0, -1.0))


def test_a_row_tells_medians_and_rates() -> None:
    """All cells of a program, with and without errors and no-speech recordings."""
    counts = ErrorCounts(200, substitutions=10, deletions=4, insertions=2)
    full = Measured(
        "peer",
        files=3,
        written=2,
        audio_s=120.0,
        rounds=(Round(cost(2.0), cost(12.0, 20.0)), Round(cost(4.0), cost(16.0, 24.0))),
        counts=counts,
        no_speech=NoSpeech(words=5, audio_s=60.0),
    )
    cells = program_table([full])[2].strip("| ").split(" | ")
    assert cells == [
        "peer",
        "2 of 3",
        "120",
        "14.0 (12.0 to 16.0)",
        "22.0 (20.0 to 24.0)",
        "3.0 (2.0 to 4.0)",
        "8.6",
        "10.9",
        "8.0",
        "2.0",
        "5 (300)",
        "100",
    ]
    bare = program_table([measured("peer", 12.0)])[2].strip("| ").split(" | ")
    assert (["peer", "2"], ["n/a", "n/a", "n/a", "100"]) == (bare[:2], bare[8:])
    head, line, *_ = program_table([full])
    assert head.count("|") == line.count("|") == len(cells) + 1


def test_words_of_no_speech_have_letters_or_digits() -> None:
    """What a normaliser would drop counts, and dots do not."""
    assert 4 == count_words({"a": [said("(Music) ..."), said("uh 5")], "b": [said("you")], "c": []})


def test_a_recording_without_a_transcript_counts_as_deleted() -> None:
    """Else a program would look better the more of it fails; a transcript without a reference does not count."""
    references = {
        name: Reference(name, lines=(StmLine(name, 1, "agent", 0.0, 1.0, "red green blue"),)) for name in ("a", "b")
    }
    found = count_errors(references, {"a": [said("red green glue")], "c": [said("grey")]})
    assert ErrorCounts(6, substitutions=1, deletions=3) == found


# -------------------------------------------------------------------------------------------------------- running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of one channel, one of two channels, and the reference of one of them."""
    found = tmp_path / "recordings"
    found.mkdir()
    for name, channels in (("a.mono", 1), ("a.stereo", 2), ("b", 1)):
        soundfile.write(found / f"{name}.wav", np.zeros((4000, channels)), 8000)
    (found / "a.stm").write_text("a 1 agent 0 1 red green blue\n")
    return found


def test_recordings_of_one_channel_are_compared(folder: Path) -> None:
    """Peers mix two channels into one; references are found without `.mono`."""
    found = find_corpus(folder)
    assert (["a.mono.wav", "b.wav"], 1.0) == ([path.name for path in found.files], found.audio_s)
    assert {"a.mono": "a"} == {stem: reference.call_id for stem, reference in found.references.items()}


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    """With a sentence."""
    with pytest.raises(typer.BadParameter, match="no WAV file with one channel"):
        find_corpus(tmp_path)


def test_a_process_is_measured(tmp_path: Path) -> None:
    """The clock, CPU time and memory are those of that process."""
    code = "import time; held = bytearray(300_000_000); time.sleep(0.2)"
    # The driver is a process of its own here, as in use: a child counts with its parent's memory until it is another
    # program, and this one has loaded models.
    driver = (
        "import json, sys; from dataclasses import asdict; from pathlib import Path;"
        "from evaluation.benchmarks.peers import run; from test_peers import python, work;"
        "print(json.dumps(asdict(run(python('one', sys.argv[1]), work(Path(sys.argv[2]), 'a.wav')))))"
    )
    tests = Path(__file__).parent
    said = subprocess.run(
        [sys.executable, "-c", driver, code, str(tmp_path)],
        cwd=tests.parent, env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = Cost(**json.loads(said.stdout))
    assert found.wall_s >= 0.2
    assert 0 < found.cpu_s < 30
    assert 300_000_000 < found.memory < 1_000_000_000


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    """With the last that it said."""
    with pytest.raises(ProgramFailedError, match="exit code 3: it is broken"):
        run(python("one", "import sys; print('it is broken'); sys.exit(3)"), work(tmp_path, "a.wav"))
    with pytest.raises(ProgramFailedError, match="exit code 1: it said nothing"):
        run(python("one", "raise SystemExit(1)"), Work((), tmp_path, tmp_path / "other", 1))


def test_programs_take_turns(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All rounds of those that run; one that fails is told and left out."""
    corpus = find_corpus(folder)
    programs = [python(OURS, WRITES), python("peer", WRITES), python("broken", "raise SystemExit('no model')")]
    turns, failed = measure(programs, 2, corpus, folder / "b.wav", work(tmp_path))
    assert {"broken": "exit code 1: no model"} == failed
    assert {OURS: 2, "peer": 2} == {name: len(one.rounds) for name, one in turns.items()}
    told = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("round")]
    assert ["round 1, ours", "round 1, peer", "round 2, peer", "round 2, ours"] == told
    found = summary("peer", turns["peer"], corpus, listen_to_no_speech(programs[1], corpus, work(tmp_path)))
    assert (2, 2, 1.0) == (found.files, found.written, found.audio_s)
    assert ErrorCounts(6, deletions=2) == found.counts
    assert NoSpeech(4, 1.0) == found.no_speech
    told_all = f"{markdown([found], OURS)}\n{note(programs[:2], 2, 2, ['broken failed.'])}"
    assert "broken failed." in told_all
    assert "| 33.3 | 33.3 | 4 (14400) |" in told_all


def test_recordings_without_speech_are_optional(folder: Path, tmp_path: Path) -> None:
    """Nothing is told where there are none, or where a program fails on them."""
    assert listen_to_no_speech(python("peer", WRITES), None, work(tmp_path)) is None
    broken = python("broken", "raise SystemExit(1)")
    assert listen_to_no_speech(broken, find_corpus(folder), work(tmp_path)) is None


@pytest.mark.parametrize("arguments", [["install", "nobody"], ["compare", ".", "--only", "nobody"]])
def test_unknown_names_are_refused(arguments: list[str]) -> None:
    """With those that there are."""
    found = CliRunner().invoke(app, arguments)
    assert 2 == found.exit_code
    assert "nobody" in found.output


def test_each_folder_is_a_workload_of_its_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables name them; what is heard where nobody speaks is asked once; one note says how."""
    programs = (python(OURS, WRITES), python("peer", WRITES))
    monkeypatch.setattr("evaluation.benchmarks.peers.PROGRAMS", programs)
    other = copytree(folder, tmp_path / "busy")
    out = tmp_path / "table.md"
    arguments = ["compare", str(folder), str(other), "--rounds", "1", "--no-speech", str(folder), "--write", str(out)]
    found = CliRunner().invoke(app, arguments)
    assert 0 == found.exit_code, found.output
    text = out.read_text(encoding="utf-8")
    assert [f"**{folder.name}**", "**busy**"] == [line for line in text.splitlines() if line.startswith("**")]
    assert 1 == text.count("Whole processes, model load included")
    same = CliRunner().invoke(app, ["compare", str(folder), str(folder)])
    assert 2 == same.exit_code
    assert "one name" in same.output


def test_names_become_folders() -> None:
    """Of all programs, and different ones."""
    slugs = [slug(program.name) for program in PROGRAMS]
    assert len(set(slugs)) == len(PROGRAMS)
    assert all(found.replace("-", "").isalnum() for found in slugs)
    assert {environment.name for environment in ENVIRONMENTS} == {"whisper-ctranslate2", "whisperx"}
