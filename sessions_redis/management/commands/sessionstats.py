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
        "Says how many sessions there are, and, by looking at a sample of them, how much memory "
        "one takes and how many in the index are gone already."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="As JSON, for other programs.")
        parser.add_argument(
            "--sample", type=int, default=1000, metavar="N", help="Sessions looked at; 1000."
        )

    def handle(self, *, json: bool, sample: int, **options: Any) -> None:
        if sample < 1:
            raise CommandError(f"--sample is {sample}; at least one session must be looked at.")
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
    sampled = f"of {statistics.sampled:,} looked at"
    size, drift = statistics.bytes_per_session, statistics.drift
    yield "live", (f"{statistics.live:,}", "")
    yield "signed in", (f"{statistics.signed_in:,}", "")
    yield "anonymous", (f"{statistics.anonymous:,}", "")
    yield "expired, to trim", (f"{statistics.expired:,}", "")
    yield "memory per session", _or_dash(None if size is None else f"{size:,.0f}", "bytes")
    yield "index drift", _or_dash(None if drift is None else f"{drift:.1%}", sampled)


def _or_dash(value: str | None, unit: str) -> tuple[str, str]:
    return ("-", "") if value is None else (value, unit)
