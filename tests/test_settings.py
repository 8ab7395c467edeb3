"""Where settings come from, which of them wins, and what a wrong one says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.decoding import RawFormat
from tasks.errors import SettingsError
from tasks.records import CallHints
from tasks.settings import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG_FILE,
    PRIVACY_ENVIRONMENT,
    Settings,
    hub_access,
    load_settings,
    prepare_environment,
    quieten_terminal,
    restart_with_huge_pages,
    setting_rows,
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment and a folder without settings."""
    for name in os.environ:
        if name.upper().startswith("CALLSCRIBE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def toml(text: str, name: str = "my.toml") -> Path:
    """A settings file in the working folder."""
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


# ------------------------------------------------------------------------------------------------- where from


@pytest.mark.parametrize(
    ("override", "environment", "file", "expected"),
    [
        ("o", "e", "t", "o"),
        ("o", None, "t", "o"),
        ("o", None, None, "o"),
        (None, "e", "t", "e"),
        (None, "e", None, "e"),
        (None, None, "t", "t"),
        (None, None, None, "starter"),
    ],
)
def test_precedence(
    monkeypatch: pytest.MonkeyPatch, override: str | None, environment: str | None, file: str | None, expected: str
) -> None:
    """An override, then the environment, then the file, then the default; an override of None is none."""
    if environment:
        monkeypatch.setenv("CALLSCRIBE_MODELS__BUNDLE", environment)
    config = toml(f'[models]\nbundle = "{file}"\n') if file else None
    assert expected == load_settings(config, {"models": {"bundle": override}}).models.bundle


def test_sources_mix_within_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting is looked up by itself: one group may come from all sources."""
    monkeypatch.setenv("CALLSCRIBE_ARCHIVE__LANGUAGE", "fr")
    file = toml('[archive]\nuri = "file:///t"\nlanguage = "de"\ntimezone = "Europe/Berlin"\n')
    archive = load_settings(file, {"archive": {"uri": "file:///o", "speakers": None}}).archive
    assert ("file:///o", "fr", "Europe/Berlin", None, 43200) == (
        archive.uri,
        archive.language,
        archive.timezone,
        archive.speakers,
        archive.max_duration_s,
    )


@pytest.mark.parametrize(
    "overrides", [None, {}, {"archive": {}}, {"archive": {"uri": None}}, {"nonsense": {"a": None}}]
)
def test_no_override_changes_nothing(overrides: dict | None) -> None:
    """Options that were not given on the command line leave the defaults."""
    assert Settings() == load_settings(overrides=overrides)


def test_overrides_are_not_changed() -> None:
    """What is passed in is only read."""
    overrides = {"archive": {"uri": "file:///o", "language": None}}
    load_settings(overrides=overrides)
    assert {"archive": {"uri": "file:///o", "language": None}} == overrides


def test_the_file_in_the_working_folder() -> None:
    """`callscribe.toml` is read where it exists, unless another file is named."""
    toml('[models]\nbundle = "here"\n', DEFAULT_CONFIG_FILE)
    assert "here" == load_settings().models.bundle
    assert "there" == load_settings(toml('[models]\nbundle = "there"\n')).models.bundle


def test_the_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CALLSCRIBE_CONFIG` wins over the working folder, and an argument over it."""
    toml('[models]\nbundle = "here"\n', DEFAULT_CONFIG_FILE)
    monkeypatch.setenv(CONFIG_VARIABLE, str(toml('[models]\nbundle = "named"\n', "named.toml")))
    assert "named" == load_settings().models.bundle
    assert "given" == load_settings(toml('[models]\nbundle = "given"\n', "given.toml")).models.bundle


def test_one_file_does_not_leak_into_the_next() -> None:
    """Settings of a file are gone with the next call, also after a failure."""
    assert "first" == load_settings(toml('[models]\nbundle = "first"\n')).models.bundle
    with pytest.raises(SettingsError):
        load_settings(toml("[models]\nnonsense = 1\n"))
    assert Settings() == load_settings()
    load_settings(toml('[models]\nbundle = "second"\n'))
    assert "starter" == Settings().models.bundle


def test_settings_are_frozen() -> None:
    """A changed setting is a new record."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().models.bundle = "other"


@pytest.mark.parametrize(
    ("name", "value", "group", "field", "expected"),
    [
        ("CALLSCRIBE_ARCHIVE__SPEAKERS", "2", "archive", "speakers", 2),
        ("CALLSCRIBE_ARCHIVE__CHANNEL_ROLES", '["a", "b"]', "archive", "channel_roles", ("a", "b")),
        ("CALLSCRIBE_AUDIO__DENOISE", "always", "audio", "denoise", "always"),
        ("CALLSCRIBE_AUDIO__DENOISE_PROBE_S", "0", "audio", "denoise_probe_s", 0.0),
        ("CALLSCRIBE_MODELS__FOLDER", "/models", "models", "folder", Path("/models")),
        ("CALLSCRIBE_MODELS__DEVICE", "cuda:1", "models", "device", "cuda:1"),
        ("CALLSCRIBE_AUDIO__SET_CROSSTALK_ASIDE", "false", "audio", "set_crosstalk_aside", False),
        ("callscribe_run__job_hours", "2.5", "run", "job_hours", 2.5),
    ],
)
def test_the_environment_is_text(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, group: str, field: str, expected: object
) -> None:
    """Text of the environment becomes what the setting is."""
    monkeypatch.setenv(name, value)
    assert expected == getattr(getattr(load_settings(), group), field)


# ------------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[archive]\nurl = 'x'\n", "archive.url: no such setting"),
        ("[archiv]\nuri = 'x'\n", "archiv: no such setting"),
        ("bundle = 'x'\n", "bundle: no such setting"),
        ("archive = 3\n", "archive: "),
        ("[archive]\nspeakers = 0\n", "archive.speakers: Input should be greater than or equal to 1, got 0"),
        ("[archive]\nspeakers = 'two'\n", "archive.speakers: "),
        ("[archive]\nmax_bytes = 0\n", "archive.max_bytes: "),
        ("[vad]\nthreshold = 1\n", "vad.threshold: Input should be less than 1, got 1"),
        ("[audio]\ndenoise = 'maybe'\n", "audio.denoise: Input should be 'off', 'auto' or 'always', got 'maybe'"),
        ("[audio]\ndenoise_probe_s = -1\n", "audio.denoise_probe_s: "),
        ("[audio]\nloudness_lufs = 23\n", "audio.loudness_lufs: "),
        ("[audio]\ntrue_peak_dbtp = 1\n", "audio.true_peak_dbtp: "),
        ("[models]\ndevice = 'gpu'\n", "models.device: "),
        ("[models]\ndevice = 'cuda:'\n", "models.device: "),
        ("[run]\nmax_attempts = 1.5\n", "run.max_attempts: "),
        ("[diarization]\nmin_speakers = 5\n", "diarization: min_speakers (5) is more than max_speakers (4)"),
        ("[archive]\ntimezone = 'Mars/Olympus'\n", "archive.timezone: unknown time zone"),
        ("[archive]\ntimezone = ''\n", "archive.timezone: unknown time zone"),
        ("[archive]\ntimezone = 'Europe'\n", "archive.timezone: unknown time zone"),
        ("[archive]\ntimezone = '../UTC'\n", "archive.timezone: unknown time zone"),
        ("[archive]\nkey_template = '{year}/{call_id}'\n", "archive.key_template: must hold {month}, got"),
        ("[archive]\nkey_template = 'calls'\n", "archive.key_template: must hold {year}, {month}, {call_id}, got"),
    ],
)
def test_a_wrong_file_names_the_setting(text: str, sentence: str) -> None:
    """One sentence says which setting is wrong, why, and in which file."""
    with pytest.raises(SettingsError) as caught:
        load_settings(toml(text))
    assert caught.value.message.startswith(f"wrong setting: {sentence}")
    assert caught.value.message.endswith("(settings file: my.toml)")
    assert 2 == caught.value.exit_code


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Two mistakes need one try."""
    with pytest.raises(SettingsError, match=r"^wrong settings: vad.threshold: .*; run.max_attempts: ") as caught:
        load_settings(toml("[vad]\nthreshold = 2\n[run]\nmax_attempts = 0\n"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CALLSCRIBE_ARCHIVE__URL", "x", "archive.url: no such setting"),
        ("CALLSCRIBE_ARCHIV__URI", "x", "CALLSCRIBE_ARCHIV__URI: no such setting"),
        ("CALLSCRIBE_ARCHIVE__SPEAKERS", "", "archive.speakers: "),
        ("CALLSCRIBE_ARCHIVE__SPEAKERS", "two", "archive.speakers: "),
        ("CALLSCRIBE_MODELS__DEVICE", "CUDA", "models.device: "),
        ("CALLSCRIBE_ARCHIVE__CHANNEL_ROLES", "agent,customer", '"archive".*written as JSON'),
        ("CALLSCRIBE_ARCHIVE", "s3://calls", "CALLSCRIBE_ARCHIVE: no such setting; names are CALLSCRIBE_GROUP__NAME"),
        ("CALLSCRIBE_MODELS_DEVICE", "cuda", "CALLSCRIBE_MODELS_DEVICE: no such setting"),
    ],
)
def test_a_wrong_environment_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """A mistyped variable is an error, never passed over."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


@pytest.mark.parametrize("name", ["CALLSCRIBE_SERVICE_HOST", "CALLSCRIBE_PORT", "CALLSCRIBER__X", "XCALLSCRIBE_A__B"])
def test_foreign_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What Kubernetes sets for a service called callscribe is not a setting, and no mistake."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert Settings() == load_settings()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"archive": {"url": "x"}}, "archive.url: no such setting"),
        ({"nonsense": {"a": 1}}, "nonsense: no such setting"),
        ({"models": {"device": "tpu"}}, "models.device: .*, got 'tpu'"),
    ],
)
def test_a_wrong_override_names_the_setting(overrides: dict, sentence: str) -> None:
    """The command line's values are checked like all others."""
    with pytest.raises(SettingsError, match=sentence) as caught:
        load_settings(overrides=overrides)
    assert "settings file" not in caught.value.message


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("what", ["missing.toml", "."])
def test_a_missing_file(monkeypatch: pytest.MonkeyPatch, how: str, what: str) -> None:
    """A file that is named and is not there (or is a folder) is an error, not the defaults."""
    if how == "environment":
        monkeypatch.setenv(CONFIG_VARIABLE, what)
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(Path(what) if how == "argument" else None)


@pytest.mark.parametrize("content", [b"[archive\n", b"archive.uri = file:///x\n", b"a = 1\na = 2\n", b'u = "\xe4"\n'])
def test_what_is_no_toml(content: bytes) -> None:
    """A broken file is named, with the reason."""
    Path("my.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^my.toml is not valid TOML: "):
        load_settings(Path("my.toml"))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_time_zones(zone: str) -> None:
    """Every zone of the database is accepted."""
    assert zone == load_settings(overrides={"archive": {"timezone": zone}}).archive.timezone


@pytest.mark.parametrize("template", ["{year}/{month}/{call_id}", "{site}/{year}{month}{day}-{call_id}.{ext}"])
def test_templates(template: str) -> None:
    """A template needs year, month and call_id, and may hold other fields."""
    assert template == load_settings(overrides={"archive": {"key_template": template}}).archive.key_template


# ------------------------------------------------------------------------------------------------- what is told


def test_every_setting_is_documented() -> None:
    """Each setting of each group has a row, with a sentence."""
    rows = setting_rows()
    expected = [
        f"{group}.{name}" for group, field in Settings.model_fields.items() for name in field.annotation.model_fields
    ]
    assert expected == [name for name, _, _ in rows]
    for name, _, description in rows:
        assert description, f"{name} lacks a description"
        assert description == description.strip()
        assert description.endswith((".", "seconds.", ")")), name


def test_defaults_are_shown_without_the_home_folder() -> None:
    """Documentation is the same whoever makes it."""
    rows = {name: default for name, default, _ in setting_rows()}
    assert ("", "UTC", "-23.0", "True") == (
        rows["archive.uri"],
        rows["archive.timezone"],
        rows["audio.loudness_lufs"],
        rows["audio.set_crosstalk_aside"],
    )
    assert str(Path.home()) not in rows["models.folder"]


def test_hints_of_an_archive() -> None:
    """What is known of every call goes into its hints."""
    archive = {"language": "de", "speakers": 3, "channel_roles": ["customer", "agent"], "languages": ["de", "en"]}
    hints = load_settings(overrides={"archive": archive}).archive.hints()
    assert CallHints("de", ("customer", "agent"), 3, ("de", "en")) == hints


@pytest.mark.parametrize("language", ["English", "e", "EN", "en-GB", ""])
def test_languages_are_codes(language: str) -> None:
    """A name that is no code names the setting."""
    with pytest.raises(SettingsError, match=r"archive.languages: must be ISO 639-1 codes"):
        load_settings(overrides={"archive": {"languages": ["de", language]}})


def test_storage_options_are_the_settings() -> None:
    """Every storage setting reaches the storage."""
    options = load_settings(overrides={"storage": {"endpoint_url": "http://s3", "max_attempts": 2}}).storage.options()
    assert ("http://s3", 2, 60.0) == (options.endpoint_url, options.max_attempts, options.read_timeout_s)


def test_telemetry_and_downloads_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: recorded calls are nobody else's business."""
    for name in PRIVACY_ENVIRONMENT:
        monkeypatch.setenv(name, "yes please")
    prepare_environment()
    assert PRIVACY_ENVIRONMENT == {name: os.environ[name] for name in PRIVACY_ENVIRONMENT}
    assert {"1", "true", "false"} == set(PRIVACY_ENVIRONMENT.values())


@pytest.mark.parametrize(("given", "expected"), [(None, "CRITICAL"), ("DEBUG", "DEBUG")])
def test_prefect_is_quiet_unless_asked(monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str) -> None:
    """Prefect's log keeps off the terminal, unless the environment wants it."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", given or "")
    if given is None:
        monkeypatch.delenv("PREFECT_LOGGING_LEVEL")
    quieten_terminal()
    assert expected == os.environ["PREFECT_LOGGING_LEVEL"]


def test_access_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint and token come from the hub's own variables, and are no settings."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert (None, "hf_test") == hub_access()
    assert not [name for name, _, _ in setting_rows() if "token" in name or "secret" in name]


@pytest.mark.parametrize(
    "given",
    [
        {"raw_encoding": "mulaw"},
        {"raw_encoding": "mulaw", "raw_sampling_rate": 8000, "raw_channels": 1},
        {"raw_extensions": ["raw"]},
        {"raw_encoding": "vox", "raw_sampling_rate": 8000, "raw_channels": 2, "raw_extensions": ["vox"]},
    ],
)
def test_headerless_sound_is_said_whole(given: dict[str, object]) -> None:
    """Half of what is needed to read a headerless file is a mistake, not a guess."""
    with pytest.raises(SettingsError, match="raw_channels"):
        load_settings(overrides={"archive": given})


@pytest.mark.parametrize(
    ("key", "read"),
    [("a/call.ulaw", True), ("a/call.ULAW", True), ("a/call.raw", True), ("a/call.wav", False), ("ulaw", False)],
)
def test_which_files_are_read_as_headerless(key: str, read: bool) -> None:
    """The named extensions, in any case, with or without the dot."""
    raw = {"raw_encoding": "mulaw", "raw_sampling_rate": 8000, "raw_channels": 2, "raw_extensions": [".ulaw", "RAW"]}
    found = load_settings(overrides={"archive": raw}).archive.raw_format(key)
    assert (RawFormat("mulaw", 8000, 2) if read else None) == found


# ------------------------------------------------------------------------------------------------------- huge pages


RESTARTING = """
import os, sys
from tasks.settings import restart_with_huge_pages
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], flush=True)
restart_with_huge_pages()
print("goes on")
"""


@pytest.mark.parametrize(("tunables", "starts"), [(None, 2), ("glibc.malloc.hugetlb=0", 1)])
def test_a_program_starts_anew_once(tmp_path: Path, tunables: str | None, starts: int) -> None:
    """With the same arguments, in huge pages; and not where somebody has said something of them."""
    program = tmp_path / "program.py"
    program.write_text(RESTARTING, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1])} | ({"GLIBC_TUNABLES": tunables} if tunables else {})
    found = subprocess.run(
        [sys.executable, str(program), "a b", "c"], env=environment, capture_output=True, text=True, check=True
    )
    *begun, last = found.stdout.splitlines()
    assert "goes on" == last
    assert starts == len(begun)
    assert all(line.endswith("['a b', 'c']") for line in begun)
    assert "glibc.malloc.hugetlb" in begun[-1]


def test_who_is_called_by_another_program_does_not_restart_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started as something else, such as this one, goes on."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr("sys.argv", ["callscribe", "transcribe", "call.wav"])
    restart_with_huge_pages()
