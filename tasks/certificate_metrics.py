"""Which months are certified, as metrics: of a data set, whether or not a run over it is alive.

`callscribe metrics` gives them out: as a service that is scraped, as a file for node_exporter, or pushed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tasks.certificates import certificate_key, chain_length
from tasks.errors import CallscribeError
from tasks.storage import Storage

# Months that have ended, the last first, of which it is shown whether they are certified.
MONTHS = 3
# The store is asked no more often, however often the metrics are.
REFRESH_S = 60.0


@dataclass(frozen=True, slots=True)
class Certified:
    """What the last certificate of a month says: when it was written, whether it accounts for all, what is missing."""

    at: datetime
    accounted: bool
    missing: int


class CertificateCollector(Collector):
    """The certified months of a data set; each certificate is read once.

    Args:
        storage: of the data set.
        timezone: in which months end (`archive.timezone`).
        refresh_s: how long what was read holds.
        now: tells the time.
    """

    def __init__(
        self,
        storage: Storage,
        timezone: str,
        refresh_s: float = REFRESH_S,
        now: Callable[[ZoneInfo], datetime] = datetime.now,
    ) -> None:
        self._storage = storage
        self._timezone = ZoneInfo(timezone)
        self._refresh_s = refresh_s
        self._now = now
        self._read_at: float | None = None
        self._readable = False
        self._number = 0
        self._found: dict[tuple[str, str], Certified] = {}

    def describe(self) -> Iterable[Metric]:
        """The families, empty: to be registered, nothing has to be read."""
        return families()

    def collect(self) -> Iterable[Metric]:
        """What the chain says now."""
        self._refresh()
        certified, ended, written, missing, length, readable = told = families()
        readable.add_metric([], float(self._readable))
        if not (self._readable or self._found):
            return told  # nothing is known of any month
        for month in expected_months(self._now(self._timezone), self._first()):
            last = self._found.get((month, "run"))
            certified.add_metric([month], float(last is not None and last.accounted))
            ended.add_metric([month], end_of(month, self._timezone).timestamp())
        for (month, kind), found in sorted(self._found.items()):
            written.add_metric([month, kind], found.at.timestamp())
            missing.add_metric([month, kind], found.missing)
        length.add_metric([], self._number)
        return told

    def _first(self) -> str | None:
        return min((month for month, kind in self._found if kind == "run"), default=None)

    def _refresh(self) -> None:
        if self._read_at is not None and time.monotonic() - self._read_at < self._refresh_s:
            return
        try:
            for number in range(self._number + 1, chain_length(self._storage) + 1):
                self._take(json.loads(self._storage.get(certificate_key(number)).data))
                self._number = number
            self._readable = True
        except (CallscribeError, ValueError, KeyError, TypeError):
            self._readable = False
        self._read_at = time.monotonic()

    def _take(self, certificate: dict[str, object]) -> None:
        content = certificate.get("content")
        if certificate.get("kind") != "run" or not isinstance(content, dict) or not content.get("final", True):
            return
        run, result = content["run"], content["result"]
        self._found[run["month"], run.get("kind", "run")] = Certified(
            datetime.fromisoformat(content["written_at"]), result["accounted"], result["missing"]
        )


def expected_months(now: datetime, first: str | None) -> list[str]:
    """The last months that have ended, the last first; none from before the first that was ever certified.

    Args:
        now: in the time zone in which months end.
        first: None where none is certified yet: then it is the last month alone.

    >>> expected_months(datetime(2026, 2, 3), "2025-12")
    ['2026-01', '2025-12']
    """
    numbers = [now.year * 12 + now.month - 1 - back for back in range(1, MONTHS + 1)]
    months = [f"{number // 12}-{number % 12 + 1:02d}" for number in numbers]
    return [month for month in months if month >= (first or months[0])]


def certificate_registry(storage: Storage, timezone: str, refresh_s: float = REFRESH_S) -> CollectorRegistry:
    """A registry with the certified months of a data set alone."""
    registry = CollectorRegistry()
    registry.register(CertificateCollector(storage, timezone, refresh_s))
    return registry


def end_of(month: str, timezone: ZoneInfo) -> datetime:
    """The moment in which a month has ended."""
    year, number = (int(part) for part in month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=timezone)


def families() -> tuple[GaugeMetricFamily, ...]:
    """The metrics of a data set, without a value."""
    return (
        GaugeMetricFamily(
            "callscribe_month_certified",
            "Whether the last run over a month that has ended accounts for every object of it; of the last months.",
            labels=["month"],
        ),
        GaugeMetricFamily(
            "callscribe_month_ended_timestamp_seconds", "When a month ended, Unix time.", labels=["month"]
        ),
        GaugeMetricFamily(
            "callscribe_certificate_timestamp_seconds",
            "When the last certificate of a month was written, Unix time.",
            labels=["month", "kind"],
        ),
        GaugeMetricFamily(
            "callscribe_certificate_missing_calls",
            "Planned calls that have no row, by the last certificate of a month.",
            labels=["month", "kind"],
        ),
        GaugeMetricFamily("callscribe_certificates", "Certificates of the data set, of all kinds."),
        GaugeMetricFamily(
            "callscribe_certificates_readable", "Whether the certificates could be read when they were last asked for."
        ),
    )
