"""`callscribe check`: device, models, storage, versions; what is wrong and how to mend it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tasks.bundles import open_bundle
from tasks.certificates import package_versions
from tasks.dataset import DataSet
from tasks.device_list import parse_devices
from tasks.devices import open_device
from tasks.errors import StorageUnavailable, UsageError
from tasks.remote import Endpoint
from tasks.settings import Settings
from tasks.storage import open_storage


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was checked: what was found, or what is wrong."""

    name: str
    text: str
    error: UsageError | StorageUnavailable | None = None


def run_checks(settings: Settings) -> Iterator[CheckResult]:
    """Check one thing after another; nothing is left behind."""
    yield CheckResult(
        "versions",
        f"python {platform.python_version()}, "
        + ", ".join(f"{name} {found}" for name, found in package_versions().items()),
    )
    for name in dict.fromkeys(parse_devices(settings.run.devices) or (settings.models.device,)):
        yield _checked("device", partial(_device, name, settings))
    yield _checked("models", lambda: _models(settings))
    if settings.recognizer.kind == "fallback" or settings.run.without_gpu == "fallback":
        yield _checked("fallback", lambda: _fallback(settings))
    if settings.archive.uri:
        yield _checked("archive", lambda: _archive(settings, str(settings.archive.uri)))
    if settings.transcripts.uri:
        yield _checked("transcripts", lambda: _transcripts(settings, str(settings.transcripts.uri)))
    if not (settings.archive.uri or settings.transcripts.uri):
        yield CheckResult("storage", "not checked: give --archive and --transcripts, or set them")


def _checked(name: str, look: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, look())
    except (UsageError, StorageUnavailable) as error:
        return CheckResult(name, error.message, error)


def _device(name: str, settings: Settings) -> str:
    device = open_device(name, settings.models.compute_type)
    return f"{name} computes in {device.compute_type} ({device.name})"


def _models(settings: Settings) -> str:
    bundle = open_bundle(settings.models.folder, settings.models.bundle)
    return f"{bundle.name} is whole, digest {bundle.digest[:16]}, in {bundle.folder}"


def _fallback(settings: Settings) -> str:
    endpoint = Endpoint(settings.fallback)
    endpoint.prove()
    return f"{endpoint.address.mark} has transcribed two seconds of silence"


def _archive(settings: Settings, uri: str) -> str:
    storage = open_storage(uri, settings.storage.options())
    storage.check()
    return f"{storage.uri} can be listed"


def _transcripts(settings: Settings, uri: str) -> str:
    storage = open_storage(uri, settings.storage.options())
    DataSet(storage).prove_safe()
    return f"{storage.uri} can be written, and honours conditional writes"
