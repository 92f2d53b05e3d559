import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis import conf
from sessions_redis.clients import perform
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.management.tenants import add_prefix, in_tenant
from sessions_redis.registry.inspection import Inspection, Server, inspect
from sessions_redis.registry.statistics import Statistics, measure
from sessions_redis.sizes import shown_size
from sessions_redis.storage.samples import COMPACT
from sessions_redis.storage.servers import Memory, Primary

# How many sessions show how the server stores them, and what their listings take.
STORED_SAMPLE = 50

# How many of the largest sessions the text has. The JSON has more.
LARGEST_SHOWN = 5

NOT_KNOWN = "not known"


class Command(BaseCommand):
    help = (
        "Prints how many sessions there are. From a sample, it estimates how much memory a session "
        "takes and how many sessions in the index no longer exist. Then it prints what the server "
        "says of itself: version, memory, and whether sessions survive a restart, and the largest "
        "sessions of the sample."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_prefix(parser)
        parser.add_argument("--json", action="store_true", help="Print JSON, for other programs.")
        parser.add_argument(
            "--sample",
            type=int,
            default=1000,
            metavar="N",
            help="How many sessions to sample. Default: 1000.",
        )

    @in_tenant
    def handle(self, *, json: bool, sample: int, **options: Any) -> None:
        if sample < 1:
            raise CommandError(f"--sample is {sample}. It must be 1 or more.")
        try:
            statistics = measure(sample)
            found = perform(inspect(conf.current().keyspace, min(sample, STORED_SAMPLE)))
        except (ImproperlyConfigured, SessionStoreUnavailable) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_as_json(statistics, found) if json else _as_text(statistics, found))


def _as_json(statistics: Statistics, found: Inspection) -> str:
    memory = asdict(found.memory) if found.memory else {}
    products = dict.fromkeys(one.product for one in found.identities)
    versions = dict.fromkeys(one.version for one in found.identities)
    return json.dumps(
        asdict(statistics)
        | {
            "server": ", ".join(products) or None,
            "version": ", ".join(versions) or None,
            "memory_used": memory.get("used"),
            "memory_limit": memory.get("limit"),
            "maxmemory_policy": memory.get("policy"),
            "survives_restart": found.survives_restart,
            "bytes_of_listings_per_session": found.size_of_listings,
            "encodings": Counter(found.encodings),
            "refused": found.refused,
            "nodes": [_node_as_json(one, one.node) for one in found.servers if one.node],
        }
    )


def _node_as_json(server: Server, node: Primary) -> dict[str, Any]:
    memory = asdict(server.memory) if isinstance(server.memory, Memory) else {}
    return {
        "name": node.name,
        "slots": node.slots,
        "replicas": node.replicas,
        "memory_used": memory.get("used"),
        "memory_limit": memory.get("limit"),
    }


def _server_as_text(found: Inspection) -> str:
    lines = dict(_server_lines(found))
    labels = max(map(len, lines))
    return "\n".join(f"{label:<{labels}}  {value}" for label, value in lines.items())


def _server_lines(found: Inspection) -> Iterator[tuple[str, str]]:
    memory, listings, nodes = found.memory, found.size_of_listings, found.nodes
    yield "server", ", ".join(map(str, found.identities)) or NOT_KNOWN
    if nodes:
        replicas = sum(one.replicas for one in nodes)
        yield "nodes of the Cluster", f"{len(nodes)} masters, {replicas} replicas"
    if memory:
        yield "memory in use", shown_size(memory.used)
        yield "memory limit", shown_size(memory.limit) if memory.limit else "none"
        yield "when its memory is full", _when_full(memory.policy)
    survives = {True: "yes", False: "no", None: NOT_KNOWN}[found.survives_restart]
    yield "sessions survive a restart", survives
    yield "listings of a session", NOT_KNOWN if listings is None else shown_size(listings)
    yield "sessions stored compactly", _compactly(found.encodings)
    for one in found.servers:
        if one.node and isinstance(one.memory, Memory):
            yield f"memory of {one.node.name}", shown_size(one.memory.used)


def _when_full(policy: str | None) -> str:
    if policy is None:
        return NOT_KNOWN
    does = "refuses to write" if policy == "noeviction" else "may remove sessions"
    return f"{does} ({policy})"


def _compactly(encodings: list[str]) -> str:
    if not encodings:
        return NOT_KNOWN
    return f"{sum(one in COMPACT for one in encodings)} of {len(encodings)} sampled"


def _remedy(refused: list[str]) -> str:
    commands = ", ".join(name.upper().replace("|", " ") for name in refused)
    return (
        f"The server refuses these commands, so some values are missing: {commands}.\n"
        "If the Redis user of this site may not run them, this allows it:\n"
        f"ACL SETUSER <user> {' '.join(f'+{name}' for name in refused)}"
    )


def _as_text(statistics: Statistics, found: Inspection) -> str:
    if conf.current().scheme == "memory":  # there is no server
        return _sessions_as_text(statistics)
    parts = [_sessions_as_text(statistics), _server_as_text(found)]
    if statistics.largest:
        parts.append(_largest_as_text(statistics))
    if found.refused:
        parts.append(_remedy(found.refused))
    return "\n\n".join(parts)


def _largest_as_text(statistics: Statistics) -> str:
    shown = statistics.largest[:LARGEST_SHOWN]
    lines = [f"{one.id}  {shown_size(one.bytes):>10}" for one in shown]
    return "\n".join([f"largest sessions of {statistics.sampled:,} sampled", *lines])


def _sessions_as_text(statistics: Statistics) -> str:
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
