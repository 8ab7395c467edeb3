"""The benchmark of a GPU: its calls, what it counts, and how it looks at a card."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluation.benchmarks import dev_calls, diarization, gpu, recognition, stages
from evaluation.benchmarks.gpu import Took, Way, archive, differing, table
from evaluation.benchmarks.gpu_samples import Sample, Usage, Watch, parse, usage_of
from tasks.errors import DeviceError
from tasks.models import Models
from tasks.settings import Settings

RATE_HZ = 8000
STAGES = {"load_s": 3.0, "vad_s": 2.0, "recognize_s": 4.0, "diarize_s": 1.0}

# --------------------------------------------------------------------------------------------------------- the card


@pytest.mark.parametrize(
    ("line", "expected"),
    [("14, 2975\n", Sample(14.0, 2975)), ("[N/A], 2975", None), ("", None), ("no devices were found", None)],
)
def test_a_line_of_nvidia_smi(line: str, expected: Sample | None) -> None:
    """Two figures, or nothing that counts."""
    assert expected == parse(line)


def test_usage_is_the_mean_and_the_most() -> None:
    """Of all samples; nothing of none."""
    assert Usage(20.0, 900) == usage_of([Sample(10.0, 900), Sample(30.0, 100)])
    assert usage_of([]) is None


def test_a_card_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a program of that name, for as long as the context lasts; of a CPU nothing is seen."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '10, 100'\necho '30, 300'\nexec sleep 60\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with Watch("cuda", 0) as watch:
        ends = time.monotonic() + 30
        while len(watch._samples) < 2 and time.monotonic() < ends:
            time.sleep(0.01)
    assert Usage(20.0, 300) == watch.usage
    with Watch("cpu", 0) as watch:
        pass
    assert watch.usage is None


# -------------------------------------------------------------------------------------------------------- the calls


def test_calls_begin_elsewhere_each_time(tmp_path: Path) -> None:
    """All of a recording, with its channels, turned around; the first time as it is."""
    folder, target = tmp_path / "from", tmp_path / "to"
    folder.mkdir()
    target.mkdir()
    ramp = np.linspace(-0.9, 0.9, RATE_HZ)
    soundfile.write(folder / "a.wav", ramp, RATE_HZ)
    soundfile.write(folder / "b.wav", np.stack([ramp, -ramp], axis=1), RATE_HZ)
    found = [soundfile.read(path, always_2d=True)[0] for path in archive(folder, 4, target)]
    assert [(RATE_HZ, 1), (RATE_HZ, 2)] * 2 == [samples.shape for samples in found]
    assert np.allclose(ramp, found[0][:, 0], atol=0.04)
    assert np.allclose(np.sort(found[0][:, 0]), np.sort(found[2][:, 0]))
    assert abs(found[0][0, 0] - found[2][0, 0]) > 0.5


def test_recordings_of_another_rate_are_refused(tmp_path: Path) -> None:
    """As are folders without any."""
    with pytest.raises(ValueError, match="no recordings"):
        archive(tmp_path, 1, tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    with pytest.raises(ValueError, match=r"a\.wav has 16000 Hz instead of 8000"):
        archive(tmp_path, 1, tmp_path)


# -------------------------------------------------------------------------------------------------------- the table


def test_other_words_are_counted_by_call() -> None:
    """What was left out counts as what was added; a call that failed lacks all of its words."""
    first = {"a": ("one", "two"), "b": ("three",), "c": ("four", "five")}
    assert (0, 0) == differing(first, first)
    assert (4, 2) == differing({"a": ("one", "two", "six", "seven"), "b": ("three",), "c": ()}, first)


def test_ways_are_lines() -> None:
    """The first is what the others are compared with; without a card there is nothing to say of one."""
    first = Took(Way("plain"), 10.0, 1000.0, STAGES, Usage(14.2, 2975), 0, {"a": ("one",)})
    other = Took(Way("large", batch=128), 5.0, 1000.0, STAGES, None, 1, {"a": ("two",)})
    assert [
        "| plain | 10.0 | 100 | 14 | 2975 | 3.0 | 2.0 | 4.0 | 1.0 | 0 |  |  |",
        "| large | 5.0 | 200 | - | - | 3.0 | 2.0 | 4.0 | 1.0 | 1 | 1 | 1 |",
    ] == table([first, other])[2:]


def test_a_run_in_another_way(models: Models, tmp_path: Path) -> None:
    """It gives what any run gives, and leaves the models as they were."""
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(RATE_HZ), RATE_HZ)
    size = models.recognizer.batches.size
    found = gpu.run(Way("other", batch=3, loaders=1, features=1, beside=False), [silence], models, Settings())
    assert (0, 1.0, {"silence": ()}) == (found.failed, found.audio_s, dict(found.words))
    assert size == models.recognizer.batches.size


@pytest.mark.parametrize(
    "main",
    [
        dev_calls.main,
        stages.main,
        recognition.main,
        gpu.main,
        lambda folder, device: diarization.main([folder], device=device),
    ],
    ids=["dev_calls", "stages", "recognition", "gpu", "diarization"],
)
def test_benchmarks_run_on_the_device_that_is_asked_for(
    models: Models, tmp_path: Path, main: Callable[..., Any]
) -> None:
    """Or not at all: none falls back to another one."""
    assert models.bundle.name == "starter"  # it is there
    with pytest.raises(DeviceError, match=r"^cuda:99 was asked for and cannot be used"):
        main(tmp_path, device="cuda:99")
