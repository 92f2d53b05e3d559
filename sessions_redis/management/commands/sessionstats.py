import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry.statistics import Statistics, measure


class Command(BaseCommand):
    help = (
        "Prints how many sessions there are. From a sample, it estimates how much memory a session "
        "takes and how many sessions in the index no longer exist."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON, for other programs.")
        parser.add_argument(
            "--sample",
            type=int,
            default=1000,
            metavar="N",
            help="How many sessions to sample. Default: 1000.",
        )

    def handle(self, *, json: bool, sample: int, **options: Any) -> None:
        if sample < 1:
            raise CommandError(f"--sample is {sample}. It must be 1 or more.")
        try:
            statistics = measure(sample)
        except (ImproperlyConfigured, SessionStoreUnavailable) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_as_json(statistics) if json else _as_text(statistics))


def _as_json(statistics: Statistics) -> str:
    return json.dumps(asdict(statistics))


def _as_text(statistics: Statistics) -> str:
    lines = dict(_lines(statistics))
    labels = max(map(len, lines))
    values = max(len(value) for value, _ in lines.values())
    return "\n".join(
        f"{label:<{labels}}  {value:>{values}} {unit}".rstrip()
        for label, (value, unit) in lines.items()
    )


def _lines(statistics: Statistics) -> Iterator[tuple[str, tuple[str, str]]]:
    sampled = f"of {statistics.sampled:,} sampled"
    size, drift = statistics.bytes_per_session, statistics.drift
    yield "live", (f"{statistics.live:,}", "")
    yield "signed in", (f"{statistics.signed_in:,}", "")
    yield "anonymous", (f"{statistics.anonymous:,}", "")
    yield "expired, still in the index", (f"{statistics.expired:,}", "")
    yield "memory per session", _or_dash(None if size is None else f"{size:,.0f}", "bytes")
    yield "in the index, but gone", _or_dash(None if drift is None else f"{drift:.1%}", sampled)


def _or_dash(value: str | None, unit: str) -> tuple[str, str]:
    return ("-", "") if value is None else (value, unit)
