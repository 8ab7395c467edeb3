"""The documentation is true: its tables are generated, its commands and queries are run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from flows.docs import ROOT, filled, tables
from tasks.query import run_query
from tasks.storage import open_storage

DEMO = ROOT / "evaluation" / "sets" / "demo"
BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*?) -->\n)?```(?P<language>bash|sql)\n(?P<text>.*?)```", re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """The code blocks of README.md in a language, as (note above it, text)."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return [(match["note"] or "", match["text"]) for match in BLOCK.finditer(readme) if match["language"] == language]


@pytest.mark.parametrize("path", sorted(tables()), ids=lambda path: path.name)
def test_generated_tables_are_up_to_date(path: Path) -> None:
    """The tables of settings and columns say what the code says; `make docs` writes them anew."""
    text = path.read_text(encoding="utf-8")
    assert filled(text, tables()[path]) == text


def test_links_lead_somewhere() -> None:
    """Every relative link of the documents names a file of the repository."""
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
        missing = [link for link in links if not (document.parent / link).exists()]
        assert missing == [], document


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which README.md's shell blocks have been run, one after another, in one shell.

    Over the calls of the demo that README.md speaks of; all of them are in the demo's own test.
    """
    folder = tmp_path_factory.mktemp("newcomer")
    for path in DEMO.rglob("demo-000[127].*"):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    script = "set -euo pipefail\n" + "\n".join(text for note, text in blocks("bash") if "not run" not in note)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PREFECT_HOME"] = str(folder / "prefect")
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    assert "Traceback" not in done.stderr
    return folder


@pytest.mark.long
def test_readme_shell_blocks_run(newcomer: Path) -> None:
    """What a newcomer types in the first five minutes works, and leaves what README.md says."""
    said = (newcomer / "stdout.txt").read_text(encoding="utf-8")
    assert (newcomer / "transcripts" / "demo-0001.wav.txt").is_file()
    assert (newcomer / "transcripts" / "demo-0002.wav.srt").is_file()
    assert (newcomer / "report.json").is_file()
    assert "every object accounted for" in said
    assert "Maria Jensen" in said


@pytest.mark.long
@pytest.mark.parametrize("sql", [text for note, text in blocks("sql") if "plain" not in note])
def test_readme_queries_answer(newcomer: Path, sql: str) -> None:
    """Every query of README.md is accepted, and the data set has an answer of the expected columns."""
    names, _ = run_query(open_storage((newcomer / "data-set").as_uri()), sql)
    assert "call_id" in names


@pytest.mark.long
@pytest.mark.parametrize("sql", [text for note, text in blocks("sql") if "plain" in note])
def test_readme_plain_queries_answer(newcomer: Path, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What README.md says of plain DuckDB is so, without this code."""
    monkeypatch.chdir(newcomer)
    assert len(duckdb.sql(sql).fetchall()) == 5
