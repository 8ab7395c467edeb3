"""With what a run works: known before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial

from tasks.bundles import Bundle, open_bundle
from tasks.calibration import load_calibration, recognizer_digest
from tasks.device_list import parse_devices, require_one_compute_type
from tasks.devices import compute_type_for
from tasks.fingerprint import fingerprint
from tasks.instead import allowed_instead, settings_instead
from tasks.planning import Wanted
from tasks.records import CallHints
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """With what a run works: the bundle, and the fingerprints of its settings.

    Attributes:
        bundle: name of the bundle.
        bundle_digest: of all its files.
        compute_type: of the recogniser.
        hints: the archive's own, which most calls have.
        of: the fingerprint of a call with some hints.
        alternatives: for each way in which jobs may be run instead (`tasks.instead`), the fingerprint of its settings
            alone.
        any_type: fingerprint with the archive's own hints, whatever the compute type.
    """

    bundle: str
    bundle_digest: str
    compute_type: str
    hints: CallHints
    of: Wanted
    alternatives: Mapping[str, str] = field(default_factory=dict)
    any_type: str = ""

    @property
    def plain(self) -> str:
        """Fingerprint with the archive's own hints."""
        return self.of(self.hints)

    @property
    def without_hints(self) -> str:
        """Fingerprint of the settings alone."""
        return self.of(CallHints())


def fingerprints_of(settings: Settings) -> Fingerprints:
    """With what this machine would work, before any model is loaded.

    Raises:
        BundleError: the bundle is missing or not whole.
        SettingsError: devices that would not compute in the same numbers.
    """
    devices = parse_devices(settings.run.devices) or (settings.models.device,)
    require_one_compute_type(devices, settings.models.compute_type)
    bundle = open_bundle(settings.models.folder, settings.models.bundle)
    ways = {way: fingerprints_with(settings_instead(settings, way), bundle) for way in allowed_instead(settings)}
    alternatives: dict[str, str] = {way: found.without_hints for way, found in ways.items()}
    return replace(fingerprints_with(settings, bundle, devices[0]), alternatives=alternatives)


def fingerprints_with(settings: Settings, bundle: Bundle, device: str | None = None) -> Fingerprints:
    """With what would be worked under some settings, with a bundle that is there; on that device, or the settings'."""
    if settings.recognizer.kind == "whisper":
        compute_type = compute_type_for(device or settings.models.device, settings.models.compute_type)
        calibration = load_calibration(bundle.name, recognizer_digest(bundle.manifest)).digest
    else:
        compute_type = calibration = ""  # nobody knows, and nobody has calibrated it
    hints = settings.archive.hints()
    return Fingerprints(
        bundle=bundle.name,
        bundle_digest=bundle.digest,
        compute_type=compute_type,
        hints=hints,
        of=cache(partial(fingerprint, settings, bundle.digest, compute_type, calibration=calibration)),
        any_type=fingerprint(settings, bundle.digest, "", hints, calibration=calibration),
    )
