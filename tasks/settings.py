"""Settings: one TOML file and the environment, grouped, checked at start. The one reader of the environment.

A setting is looked up in this order: an override from the command line, the environment variable
`CALLSCRIBE_<GROUP>__<NAME>`, the TOML file (`callscribe.toml`, or what `CALLSCRIBE_CONFIG` names), its default.
Credentials of the storage are not settings: they come only through boto3's own chain. The key of the fallback
recogniser is one (`fallback.key`), from the environment or a file; it is in no message and no representation.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import platformdirs
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings import SettingsError as SourceError

from tasks.errors import SettingsError
from tasks.fallback_settings import FallbackSettings, address_of
from tasks.host import with_huge_pages
from tasks.setting_groups import (
    ArchiveSettings,
    AudioSettings,
    ClusterSettings,
    DecoderSettings,
    DiarizationSettings,
    GateSettings,
    Group,
    LogSettings,
    MetricSettings,
    ModelSettings,
    RecognizerSettings,
    RetentionSettings,
    RunSettings,
    StorageSettings,
    TranscriptsSettings,
    UtteranceSettings,
    VadSettings,
)

ENV_PREFIX = "CALLSCRIBE_"
CONFIG_VARIABLE = "CALLSCRIBE_CONFIG"
# What Kubernetes puts into every pod beside a Service named callscribe….
_KUBERNETES = re.compile(r"_(SERVICE_HOST|SERVICE_PORT|PORT)(_|$)")
DEFAULT_CONFIG_FILE = "callscribe.toml"
# Where a process runs, as Kubernetes tells it: no settings, as they say nothing of what is to be done.
NODE_VARIABLE, POD_VARIABLE = "CALLSCRIBE_NODE", "CALLSCRIBE_POD"
_NO_SETTINGS = frozenset({CONFIG_VARIABLE, NODE_VARIABLE, POD_VARIABLE})
# What decides which GPUs a process sees.
DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")

# What dependencies must be told before they are imported: recorded calls are nobody else's business, and nothing may
# be fetched in a run.
PRIVACY_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PYANNOTE_METRICS_ENABLED": "false",
}


# pydantic-settings asks the class, not the instance, for its sources: `load_settings` tells it here.
_config_of_this_load: ContextVar[Path | None] = ContextVar("callscribe_config_of_this_load", default=None)


class Settings(BaseSettings):
    """Every setting of callscribe; see the module docstring for where values come from."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret, and errors are logged with what they came from
        nested_model_default_partial_update=True,
    )
    archive: ArchiveSettings = ArchiveSettings()
    transcripts: TranscriptsSettings = TranscriptsSettings()
    retention: RetentionSettings = RetentionSettings()
    storage: StorageSettings = StorageSettings()
    decoder: DecoderSettings = DecoderSettings()
    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    recognizer: RecognizerSettings = RecognizerSettings()
    diarization: DiarizationSettings = DiarizationSettings()
    utterances: UtteranceSettings = UtteranceSettings()
    models: ModelSettings = ModelSettings()
    fallback: FallbackSettings = FallbackSettings()
    run: RunSettings = RunSettings()
    gate: GateSettings = GateSettings()
    cluster: ClusterSettings = ClusterSettings()
    logs: LogSettings = LogSettings()
    metrics: MetricSettings = MetricSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # a signature of pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Overrides, then the environment, then the TOML file; no dot-env and no secret files."""
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, toml_file=_config_of_this_load.get()),
        )


def load_settings(config: Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Read and check all settings.

    Args:
        config: the TOML file; None takes `CALLSCRIBE_CONFIG`, else `callscribe.toml` where it exists.
        overrides: values by group and name that win over everything, such as command-line options; None values are
            ignored.

    Raises:
        SettingsError: a file is missing or not TOML, a name is unknown, or a value is wrong; names the field.
    """
    given = {
        group: {name: value for name, value in values.items() if value is not None}
        for group, values in (overrides or {}).items()
    }
    if "key" in given.get("fallback", {}):
        message = (
            "fallback.key does not go through options or parameters of flows, which Prefect keeps: put it into "
            "CALLSCRIBE_FALLBACK__KEY, or into a file (fallback.key_file)"
        )
        raise SettingsError(message)
    file = _config_file(config)
    _refuse_unknown_groups()
    token = _config_of_this_load.set(file)
    try:
        # mypy: the groups are keyword arguments of a generated constructor.
        settings = Settings(**cast("dict[str, Any]", {group: values for group, values in given.items() if values}))
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from error
    except SourceError as error:
        message = (
            f"{error}: lists are written as JSON in the environment, "
            f'such as {ENV_PREFIX}ARCHIVE__CHANNEL_ROLES=\'["agent", "customer"]\''
        )
        raise SettingsError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{file} is not valid TOML: {error}"
        raise SettingsError(message) from error
    finally:
        _config_of_this_load.reset(token)
    if settings.fallback.url or settings.recognizer.kind == "fallback" or settings.run.without_gpu == "fallback":
        address_of(settings.fallback)
    return settings


@contextmanager
def configured_by(config: Path | None) -> Iterator[None]:
    """Let everything in this process, and what it starts, read this TOML file, without being told so.

    Args:
        config: None: the one that it reads anyway.
    """
    before = os.environ.get(CONFIG_VARIABLE)
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    try:
        yield
    finally:
        if config is not None:
            if before is None:
                del os.environ[CONFIG_VARIABLE]
            else:
                os.environ[CONFIG_VARIABLE] = before


def prepare_environment() -> None:
    """Switch off telemetry and downloads of dependencies; call before any of them is imported.

    They are set whatever the environment says.
    """
    os.environ.update(PRIVACY_ENVIRONMENT)


def restart_with_huge_pages() -> None:
    """Start this process anew, once, so that its memory comes in huge pages where the system has them.

    For programs at their start only: what they did so far is done again. Nothing happens in a process that was started
    as something else, and calls such a program. `tasks.host.with_huge_pages` says what it is good for.
    """
    arguments = sys.argv[1:]
    if not arguments or sys.orig_argv[-len(arguments) :] != arguments:
        return
    glibc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    environment = with_huge_pages(os.environ, glibc)
    if environment is not None:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  # this very program


def quieten_terminal(*, log: bool = False) -> None:
    """Keep Prefect's log off the terminal, where our own progress and messages are, unless a `log` is asked for.

    And give its temporary server time to start on a busy machine: without a log, nobody would know what it waits for.
    """
    if not log:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


@dataclasses.dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where this process runs.

    Attributes:
        node: the name of the machine: `CALLSCRIBE_NODE`, else that of the host.
        pod: `CALLSCRIBE_POD`, which is set on Kubernetes; else empty.
        variables: `DEVICE_VARIABLES`, None where unset.
    """

    node: str
    pod: str = ""
    variables: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def whereabouts() -> Whereabouts:
    """Where this process runs, as the environment tells it."""
    node = os.environ.get(NODE_VARIABLE) or socket.gethostname()
    return Whereabouts(
        node, os.environ.get(POD_VARIABLE, ""), {name: os.environ.get(name) for name in DEVICE_VARIABLES}
    )


def hub_access() -> tuple[str | None, str | None]:
    """The Hugging Face endpoint and token of the environment (`HF_ENDPOINT`, `HF_TOKEN`), None where unset."""
    return os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN")


def setting_rows() -> list[tuple[str, str, str]]:
    """Every setting as (name, default, description), for the documentation and `callscribe check`."""
    rows = []
    for group_name, group in Settings.model_fields.items():
        model = cast("type[Group]", group.annotation)
        for name, field in model.model_fields.items():
            default = field.default
            shown = _shown(default)
            shown = shown.replace(platformdirs.user_cache_dir(), "~/.cache")
            rows.append((f"{group_name}.{name}", shown, field.description or ""))
    return rows


def _shown(default: object) -> str:
    """A default as the documentation has it; empty where there is none, and of tables."""
    if default is None or (isinstance(default, tuple) and any(isinstance(item, Group) for item in default)):
        return ""
    return json.dumps(default) if isinstance(default, tuple) else str(default)


def _config_file(config: Path | None) -> Path | None:
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            message = f"settings file {named} does not exist; create it or unset {CONFIG_VARIABLE}"
            raise SettingsError(message)
        return named
    default = Path(DEFAULT_CONFIG_FILE)
    return default if default.is_file() else None


def _refuse_unknown_groups() -> None:
    """pydantic-settings passes over variables that it does not know; a mistyped name must not go unseen."""
    for name in sorted(os.environ):
        if not name.upper().startswith(ENV_PREFIX) or name.upper() in _NO_SETTINGS or _KUBERNETES.search(name):
            continue
        group, delimiter, _ = name.upper().removeprefix(ENV_PREFIX).partition("__")
        if not delimiter or group.lower() not in Settings.model_fields:
            message = f"wrong setting: environment variable {name}: no such setting; names are CALLSCRIBE_GROUP__NAME"
            raise SettingsError(message)


def _explain(error: ValidationError, file: Path | None) -> str:
    where = f" (settings file: {file})" if file else ""
    problems = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        # Of a group, all of its values: a key may be among them.
        shown = item["type"] not in {"extra_forbidden", "missing"} and not isinstance(item["input"], Mapping)
        given = f", got {item['input']!r}" if shown and field != "fallback.key" else ""
        reason = "no such setting" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        problems.append(f"{field}: {reason}{given}")
    return f"wrong setting{'s' if len(problems) > 1 else ''}: {'; '.join(problems)}{where}"
