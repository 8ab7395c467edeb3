"""A process that runs a small month on devices, started by the tests: `python tests/device_month.py JSON`.

JSON has `archive`, `transcripts` and `bundles` of the month, its `settings`, and the `program` of the workers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from small_month import SmallMonth, without_prefect
from stand_ins import stand_in_models


def main(order: dict[str, Any]) -> None:
    """Run it."""
    month = SmallMonth(order["archive"], order["transcripts"], Path(order["bundles"]))
    with without_prefect(stand_in_models(month.bundles)), pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.device_processes.PROGRAM", tuple(order["program"]))
        month.run(**order["settings"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
