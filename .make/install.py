"""Install a lock into this Python's virtual environment: with uv, from where pip would take it.

    .venv/bin/python .make/install.py requirements.lock

uv fetches and unpacks several packages at a time, in a third of pip's time. It does not read pip's configuration
(index, folders of wheels, certificates, proxy), so that is handed to it as environment variables; what is set for uv
itself (`UV_…`) goes before. Where uv cannot do it, pip does. Only Python's own library: nothing else is installed yet.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = Path(sys.prefix)
UV_LOCK = ROOT / "requirements-uv.lock"
# pip's options, and the variable by which uv is told the same.
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
# Where uv wants commas between several values; pip has blanks or lines.
WITH_COMMAS = {"UV_FIND_LINKS"}
# As pip reads them: what is said for `pip install` before what is said for all commands, the environment before both.
SECTIONS = ("global", "install", ":env:")


def pip_options(listed: str) -> dict[str, str]:
    r"""The options that hold for `pip install`, of what `pip config list` says.

    >>> pip_options("global.cert='/a.pem'\nglobal.timeout='15'\n:env:.timeout='60'\ndownload.cert='/b.pem'\n")
    {'cert': '/a.pem', 'timeout': '60'}
    """
    options: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines()]
    for section in SECTIONS:
        for name, _, value in lines:
            if name.startswith(f"{section}."):
                options[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return options


def uv_variables(options: Mapping[str, str]) -> dict[str, str]:
    r"""The variables that tell uv what pip was told.

    >>> uv_variables({"find-links": "/wheels /more", "extra-index-url": "https://a/simple\nhttps://b/simple"})
    {'UV_FIND_LINKS': '/wheels,/more', 'UV_INDEX': 'https://a/simple https://b/simple'}
    """
    found = {VARIABLES[name]: value for name, value in options.items() if name in VARIABLES}
    return {name: ("," if name in WITH_COMMAS else " ").join(value.split()) for name, value in found.items()}


def pip(*arguments: str | Path) -> list[str]:
    """A command of pip, without its chatter."""
    plain = [sys.executable, "-m", "pip", *map(str, arguments)]
    return [*plain, "--no-compile", "-qq", "--disable-pip-version-check", "--progress-bar", "off"]


def with_uv(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Install by uv; whether it could."""
    # pip first: uv itself is a package of the lock's kind.
    if subprocess.run(pip("install", "--require-hashes", "-r", UV_LOCK), check=False).returncode != 0:
        return False
    uv = [str(ENVIRONMENT / "bin" / "uv"), "pip", "install", "--python", sys.executable]
    # As pip does: it trusts whom the machine trusts, and looks in all indexes. The hashes say which file it must be.
    uv += ["--system-certs", "--index-strategy", "unsafe-best-match"]
    own_cache = ENVIRONMENT / "uv-cache"
    if not _shares_disk(environment):
        # Nothing could be linked from the cache: it would hold 8 GB a second time.
        environment = {**environment, "UV_CACHE_DIR": str(own_cache)}
    try:
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        return subprocess.run([*uv, *quiet, *arguments], env=environment, check=False).returncode == 0
    finally:
        shutil.rmtree(own_cache, ignore_errors=True)


def _shares_disk(environment: Mapping[str, str]) -> bool:
    """Whether uv's cache is on the file system of the virtual environment, so that files can be links to it."""
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(environment.get("UV_CACHE_DIR") or Path(home, "uv"))
    there = next(place for place in (cache, *cache.parents) if place.exists())
    return there.stat().st_dev == ENVIRONMENT.stat().st_dev


def main() -> None:
    """Install the locks that are named, and nothing that they do not name."""
    arguments = ["--no-deps", "--require-hashes"]
    for lock in sys.argv[1:]:
        arguments += ["-r", lock]
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    if with_uv(arguments, {**uv_variables(pip_options(listed)), **os.environ}):
        return
    sys.stderr.write("uv could not install it: pip does, which takes longer\n")
    sys.exit(subprocess.run(pip("install", *arguments), check=False).returncode)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
