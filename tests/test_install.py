"""What `make install` installs with: uv is told what pip was told, and pip does what uv cannot."""

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from flows.docs import ROOT

INSTALL = ROOT / ".make" / "install.py"
_spec = spec_from_file_location("install", INSTALL)
assert _spec is not None
assert _spec.loader is not None
install = module_from_spec(_spec)
_spec.loader.exec_module(install)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("", {}),
        ("global.index-url='https://mirror/simple'", {"UV_DEFAULT_INDEX": "https://mirror/simple"}),
        ("global.timeout='15'\ninstall.timeout='30'", {"UV_HTTP_TIMEOUT": "30"}),
        (":env:.timeout='60'\nglobal.timeout='15'\ninstall.timeout='30'", {"UV_HTTP_TIMEOUT": "60"}),
        ("download.no-index='true'\nglobal.quiet='1'", {}),
        (r"global.extra-index-url='\nhttps://a/s\nhttps://b/s'", {"UV_INDEX": "https://a/s https://b/s"}),
        (
            "global.find-links='/wheels /more'\n:env:.no-index='1'",
            {"UV_FIND_LINKS": "/wheels,/more", "UV_NO_INDEX": "1"},
        ),
        (":env:.cert='/ca.pem'\nglobal.proxy='http://p:1'", {"SSL_CERT_FILE": "/ca.pem", "ALL_PROXY": "http://p:1"}),
    ],
)
def test_uv_is_told_what_pip_was_told(listed: str, expected: dict[str, str]) -> None:
    """By its own variables, with pip's order of what goes before what."""
    assert expected == install.uv_variables(install.pip_options(listed))


def test_uv_is_locked_once() -> None:
    """The version that installs is the one that resolves."""
    versions = set()
    for name in ("requirements-uv.lock", "requirements-dev.lock"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        versions |= {line.split()[0] for line in lines if line.startswith("uv==")}
    assert 1 == len(versions)


@pytest.mark.long
def test_without_uv_pip_installs_what_is_locked(tmp_path: Path) -> None:
    """Where uv cannot be had, the lock is installed all the same; a file that is not the locked one never is."""
    wheel = tmp_path / "wheels" / "greeting-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("greeting.py", "WORDS = 'good morning'\n")
        archive.writestr("greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
        archive.writestr("greeting-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("greeting-1.dist-info/RECORD", "")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment = plain | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PIP_CONFIG_FILE": os.devnull}

    def installed(digest: str) -> subprocess.CompletedProcess[str]:
        lock = tmp_path / "requirements.lock"
        lock.write_text(f"greeting==1 --hash=sha256:{digest}\n")
        return subprocess.run(
            [python, INSTALL, lock], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    wrong = installed(64 * "0")
    assert 0 != wrong.returncode
    assert "DO NOT MATCH THE HASHES" in wrong.stderr
    done = installed(right)
    assert 0 == done.returncode, done.stderr
    assert "pip does, which takes longer" in done.stderr
    assert (
        "good morning"
        == subprocess.check_output([python, "-c", "print(__import__('greeting').WORDS)"], text=True).strip()
    )
