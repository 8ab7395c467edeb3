"""Sessions and clients of boto3, which only this module of `tasks` imports."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from tasks.errors import SettingsError
from tasks.storage import StorageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def open_session(region: str | None) -> boto3.session.Session:
    """Begin a session: its credentials are those of the environment as it is now.

    Raises:
        botocore.exceptions.ProfileNotFound: the environment names an AWS profile that does not exist.
    """
    core = botocore.session.get_session()
    core.register_component("data_loader", _service_descriptions())
    return boto3.session.Session(region_name=region, botocore_session=core)


@cache
def _service_descriptions() -> Loader:
    """Botocore's files on AWS's services: a new session would read and parse them anew, for 100 ms.

    Every session of boto3 puts its own folder on the search path once more; what was found is not searched for again.
    """
    return create_loader(botocore.session.get_session().get_config_variable("data_path"))


def connect(session: boto3.session.Session, options: StorageOptions) -> "S3Client":
    """Make the one client of a store; all threads share it.

    Raises:
        SettingsError: there is no such certificate file, or boto3 cannot use the endpoint or the region.
    """
    config = Config(
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        max_pool_connections=options.max_connections,
        retries={"mode": "standard", "total_max_attempts": options.max_attempts},
        signature_version="s3v4",
        tcp_keepalive=True,
        # Left alone, botocore uses path style exactly where an endpoint is set.
        s3=None if options.path_style is None else {"addressing_style": "path" if options.path_style else "virtual"},
    )
    if options.ca_bundle is not None and not Path(options.ca_bundle).is_file():
        message = f"The certificate file ca_bundle={options.ca_bundle} does not exist."
        raise SettingsError(message)
    try:
        client: S3Client = session.client(
            "s3", endpoint_url=options.endpoint_url, verify=options.ca_bundle, config=config
        )
    except ValueError as error:
        message = f"boto3 cannot use endpoint {options.endpoint_url!r} in region {options.region!r}: {error}."
        raise SettingsError(message) from error
    return client
