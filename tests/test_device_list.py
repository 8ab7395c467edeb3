"""Lists of devices, and what becomes of them as settings."""

import pytest

from flows.check import run_checks
from flows.device_processes import overrides_on
from tasks.device_list import MOST_DEVICES, parse_devices, require_one_compute_type, share_of_cores
from tasks.errors import BundleError, SettingsError
from tasks.run_models import fingerprints_of
from tasks.settings import load_settings


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cuda:0,cuda:1", ("cuda:0", "cuda:1")),
        (" cuda:3 , cuda:1 ", ("cuda:3", "cuda:1")),
        ("cuda", ("cuda:0",)),
        ("cpu", ("cpu",)),
        ("cpu:2", ("cpu", "cpu")),
        ("cpu:1,cuda:0", ("cpu", "cuda:0")),
        ("", ()),
        (" ", ()),
        (f"cpu:{MOST_DEVICES}", ("cpu",) * MOST_DEVICES),
    ],
)
def test_a_list_of_devices(text: str, devices: tuple[str, ...]) -> None:
    """A GPU by its number, CPU workers by how many there are."""
    assert devices == parse_devices(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cuda:0,cuda:0", "cuda:0 is there twice"),
        ("cuda,cuda:0", "cuda:0 is there twice"),
        ("cuda:1,cuda:01", "cuda:1 is there twice"),
        ("cpu,cpu", "write cpu:N"),
        ("cpu:1,cpu:2", "write cpu:N"),
        ("cpu:0", "1 to 64 workers"),
        ("cpu:65", "1 to 64 workers"),
        ("cpu:64,cuda:0", "1 to 64 workers"),
        ("gpu:0", "'gpu:0' is no device"),
        ("cuda:x", "is no device"),
        ("cuda:-1", "is no device"),
        ("cuda:0,", "'' is no device"),
        ("cuda:0 cuda:1", "is no device"),
        ("2", "is no device"),
    ],
)
def test_nonsense_is_refused(text: str, said: str) -> None:
    """By the parser, and as a setting, with what to write instead."""
    with pytest.raises(ValueError, match=said):
        parse_devices(text)
    with pytest.raises(SettingsError, match=f"run.devices: .*{said}"):
        load_settings(overrides={"run": {"devices": text}})


@pytest.mark.parametrize("other", [{"deployment": "transcribe-job/gpu"}, {"without_gpu": "cpu"}])
def test_devices_are_the_one_place(other: dict[str, str]) -> None:
    """Jobs are done by processes of this machine or by workers of a deployment, and by nobody in another way."""
    with pytest.raises(SettingsError, match="devices"):
        load_settings(overrides={"run": {"devices": "cpu:2", **other}})


def test_one_run_computes_in_one_way() -> None:
    """CPUs and GPUs do not by default, and may by a setting; what is planned is by that of the devices."""
    require_one_compute_type(("cpu", "cpu"), "default")
    require_one_compute_type(("cuda:0", "cuda:1"), "default")
    require_one_compute_type(("cpu", "cuda:0"), "float32")
    with pytest.raises(SettingsError, match=r"cpu, cuda:0, and cpu computes in int8 and cuda computes in float16"):
        require_one_compute_type(("cpu", "cpu", "cuda:0"), "default")
    with pytest.raises(SettingsError, match="leave one kind out"):
        fingerprints_of(load_settings(overrides={"run": {"devices": "cpu,cuda:0"}}))


def test_a_plan_is_for_the_devices() -> None:
    """Whatever the setting models.device says."""
    try:
        found = {
            (device, devices): fingerprints_of(
                load_settings(overrides={"models": {"device": device}, "run": {"devices": devices}})
            )
            for device, devices in [("cpu", ""), ("cpu", "cuda:0,cuda:1"), ("cuda", ""), ("cuda", "cpu:2")]
        }
    except BundleError as error:
        pytest.skip(error.message)
    assert ["int8", "float16", "float16", "int8"] == [one.compute_type for one in found.values()]
    assert found["cuda", ""].plain == found["cpu", "cuda:0,cuda:1"].plain


def test_check_tries_every_device() -> None:
    """Once each; a device that is named alone wins over a list."""
    settings = load_settings(overrides={"run": {"devices": "cpu:2"}, "models": {"device": "cuda"}})
    (found,) = [result for result in run_checks(settings) if result.name == "device"]
    assert found.text.startswith("cpu computes in int8")


@pytest.mark.parametrize(
    ("cores", "devices", "threads"), [(2, 2, 1), (1, 2, 1), (16, 2, 8), (16, 3, 5), (96, 8, 12), (2, 1, 2)]
)
def test_cores_are_shared(cores: int, devices: int, threads: int) -> None:
    """So that together the processes have no more threads than there are cores."""
    assert threads == share_of_cores(cores, ["cpu"] * devices)


def test_settings_of_a_process() -> None:
    """Those of the run, its device, and its share of the cores where settings do not say another number."""
    plain = load_settings()
    assert {
        "archive": {"language": "de"},
        "models": {"bundle": "starter", "device": "cpu"},
        "recognizer": {"cpu_threads": 1, "feature_threads": 1},
        "run": {"job_hours": 3.0, "loader_threads": 1},
    } == overrides_on(
        "cpu",
        {"archive": {"language": "de"}, "models": {"bundle": "starter", "device": "cuda"}, "run": {"job_hours": 3.0}},
        plain,
        1,
    )
    assert {"models": {"device": "cuda:1"}, "recognizer": {"cpu_threads": 8}, "run": {}} == overrides_on(
        "cuda:1", None, plain, 8
    )
    said = load_settings(overrides={"recognizer": {"cpu_threads": 3}, "run": {"loader_threads": 5}})
    assert {"cpu_threads": 3, "feature_threads": 2} == overrides_on("cpu", None, said, 8)["recognizer"]
    assert {"loader_threads": 5} == overrides_on("cpu", None, said, 8)["run"]


def test_each_process_serves_its_metrics_on_a_port_of_its_own() -> None:
    """Above that of the run."""
    said = load_settings(overrides={"metrics": {"port": 9464}})
    assert {"port": 9466} == overrides_on("cuda:1", None, said, 8, place=2)["metrics"]
    assert "metrics" not in overrides_on("cuda:1", None, load_settings(), 8, place=2)
