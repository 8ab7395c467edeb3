"""checkov finds nothing in image and manifests but what k8s/checkov.yaml has a reason for."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.manifests import K8S, OVERLAYS, ROOT, overlay

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def checkov() -> Path:
    """The program, in its own environment; in CI it must be there."""
    program = Path(os.environ.get("CHECKOV", ROOT / ".venv-checkov")) / "bin" / "checkov"
    if not program.is_file() and os.environ.get("CI") != "true":
        pytest.skip("checkov is not installed: make checkov")
    return program


def scanned(checkov: Path, path: Path, framework: str) -> dict[str, set[str]]:
    """What checkov finds in a file, offline: resources by check."""
    command = [checkov, "--skip-download", "--framework", framework, "--file", path, "--output", "json", "--compact"]
    done = subprocess.run(
        [*command, "--config-file", K8S / "checkov.yaml", "--soft-fail"],
        capture_output=True, text=True, timeout=280, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 5, done.stderr
    found: dict[str, set[str]] = {}
    for each in report["results"]["failed_checks"]:
        found.setdefault(f"{each['check_id']} {each['check_name']}", set()).add(each["resource"])
    return found


def test_manifests_are_safe(checkov: Path, tmp_path: Path) -> None:
    """Of every overlay, and the Jobs of its work pools."""
    objects = {}
    for each in (each for name in OVERLAYS for each in overlay(name)):
        metadata = each["metadata"]
        metadata.setdefault("name", f"{metadata.pop('generateName', '')}x")
        objects[json.dumps(each, sort_keys=True)] = each
    path = tmp_path / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(objects.values()), encoding="utf-8")
    assert scanned(checkov, path, "kubernetes") == {}


@pytest.mark.parametrize("name", ["Dockerfile", "models.Dockerfile"])
def test_image_is_safe(checkov: Path, name: str) -> None:
    """Both Dockerfiles."""
    assert scanned(checkov, K8S / name, "dockerfile") == {}


def test_exceptions_have_reasons() -> None:
    """On the line of each."""
    lines = (K8S / "checkov.yaml").read_text(encoding="utf-8").splitlines()
    exceptions = [line for line in lines if line.startswith("  - ")]
    assert exceptions
    assert all(re.fullmatch(r"  - CKV\w+  # .{40,}", line) for line in exceptions)
