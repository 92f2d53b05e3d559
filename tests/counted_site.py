"""
A site with the metrics of redis-py: ``python -m tests.counted_site <a URL without a server>``.

redis-py and OpenTelemetry set them up once for each process, so this is a process of its own. It
uses sessions, and prints what was counted.
"""

import asyncio
import json
import os
import sys
from typing import Any

import django
import pytest
from django.conf import settings
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability import MetricGroup, OTelConfig, get_observability_instance

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable


def use_sessions(nowhere: str) -> str:
    session = SessionStore()
    session["card"] = "red"
    session.create()
    assert SessionStore(session.session_key)["card"] == "red"
    asyncio.run(use_in_loop(session.session_key))
    settings.SESSION_REDIS["LOCATION"] = nowhere
    django.core.signals.setting_changed.send(
        sender=None, setting="SESSION_REDIS", value=None, enter=True
    )
    with pytest.raises(SessionStoreUnavailable):
        SessionStore(session.session_key).load()
    return session.session_key


async def use_in_loop(session_key: str) -> None:
    session = SessionStore(session_key)
    await session.aset("card", "blue")
    await session.asave()


def points(counted: Any) -> dict[str, list[list[Any]]]:
    """The points of each metric: what it counts, and how often that was."""
    found = json.loads(counted.to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    return {
        metric["name"]: [
            [point["attributes"], point.get("count", point.get("value"))]
            for point in metric["data"]["data_points"]
        ]
        for metric in found
    }


def main() -> None:
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    groups = [MetricGroup.COMMAND, MetricGroup.RESILIENCY, MetricGroup.CONNECTION_ADVANCED]
    get_observability_instance().init(OTelConfig(metric_groups=groups))
    settings.configure(SESSION_REDIS=json.loads(os.environ["WORKER_SESSION_REDIS"]))
    django.setup()
    session_key = use_sessions(sys.argv[1])
    print(json.dumps({"session_key": session_key, "counted": points(reader.get_metrics_data())}))


main()
