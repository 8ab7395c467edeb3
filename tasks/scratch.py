"""The scratch disk: a folder of this process alone, and one sentence where there is no room for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from tasks.errors import StorageRefused, is_full


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder in `TMPDIR`, which is removed afterwards.

    Raises:
        StorageRefused: the disk is full; what was not done for one call, but for the run.
    """
    try:
        with TemporaryDirectory(prefix="callscribe-") as name:
            yield Path(name)
    except OSError as error:
        if not is_full(error):
            raise
        message = (
            f"the scratch folder {gettempdir()} is full: make room there, or name another folder in TMPDIR, and start "
            "the same command again"
        )
        raise StorageRefused(message) from error
