"""Flows as deployments of the tests name them: Prefect copies the folder of an entrypoint into each pod."""

from flows.archive import archive_run
from flows.job import transcribe_job

__all__ = ["archive_run", "transcribe_job"]
