"""
Bad weather for real sites, in numbers. Ends with an error if a promise is broken.

Each weather happens to two sites at a time, with one server, with Sentinel or with a Cluster.
Without options, gunicorn and uvicorn stand in all of them. Other ways to serve a site stand in
"restart" and "hang". Django's cache engine, for comparison, stands in "restart", "hang" and "full"
with one server. TEST_SERVER names another server, such as redis-server.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.weather import absence, failover, network, refusal, resharding
from tests.weather.inspection import inspected
from tests.weather.places import SCHEMES, SERVER, Place, Weather, cleared, is_known, prepared
from tests.weather.report import Row, table
from tests.weather.serving import KINDS, USERS, Site, prepared_database, served
from tests.weather.visitors import Crowd

# By name: the topologies in which the weather happens.
WEATHERS: dict[str, list[Weather]] = {}
for module in (absence, failover, resharding, network, refusal):
    for one in module.WEATHERS:
        WEATHERS.setdefault(one.name, []).append(one)

MAIN = ("gunicorn", "uvicorn")
OTHERS = (("gevent", "uwsgi"), ("prefork", "threads"), ("loops",))
WITH_OTHERS = {"restart", "hang"}
COMPARED = {"restart", "hang", "full"}

# Seconds of load before the weather, and without a failure after it. And how long to wait for that.
SUNSHINE = 1.0
QUIET = 2.0
RECOVERY = 60.0

Group = tuple[str, tuple[str, ...]]  # an engine, and the kinds of sites that use it


def main() -> None:
    options = _options()
    if options.server:
        os.environ["TEST_SERVER"] = options.server
    folder = Path(tempfile.mkdtemp(prefix="weather-"))
    database = prepared_database(folder)
    rows: list[Row] = []
    broken: list[str] = []
    for weather in _chosen(options):
        for engine, kinds in _groups(weather, options):
            parts = [weather.name, weather.on.replace(" ", "-"), engine, *kinds]
            where = cleared(folder / "-".join(parts))
            for row in asyncio.run(_endured(weather, engine, kinds, where, database)):
                rows.append(row)
                print(f"| {' | '.join(row.cells())} |", flush=True)
                if engine == "ours":
                    broken += row.broken_promises()
    print(f"\n{table(rows)}\n")
    if broken:
        sys.exit("\n".join(["Broken promises:", *broken, f"The logs are in {folder}."]))
    print("No promise is broken.")


def _chosen(options: argparse.Namespace) -> Iterator[Weather]:
    for name in options.weathers or WEATHERS:
        for weather in WEATHERS[name]:
            if options.topologies and weather.on not in options.topologies:
                continue
            if is_known(weather.on):
                yield weather
            else:
                print(f"{name} is left out: this version does not know {SCHEMES[weather.on]}://.")


def _groups(weather: Weather, options: argparse.Namespace) -> Iterator[Group]:
    if options.sites or options.engine:
        yield options.engine or "ours", tuple(options.sites or MAIN)
        return
    yield "ours", MAIN
    if weather.name in WITH_OTHERS:
        for kinds in OTHERS:
            yield "ours", kinds
    if weather.on == SERVER and weather.name in COMPARED:
        yield "cache", MAIN[:1]


async def _endured(
    weather: Weather, engine: str, kinds: tuple[str, ...], folder: Path, database: Path
) -> list[Row]:
    """The weather, and what it did to each of the sites."""
    with ExitStack() as stack:
        place = stack.enter_context(prepared(weather, folder))
        sites = [
            stack.enter_context(served(kind, engine, place, folder, database)) for kind in kinds
        ]
        place.crowds = list(map(Crowd, sites))
        before = [await crowd.sign_in() for crowd in place.crowds]
        assert before == [USERS] * len(sites), f"{before} users could sign in in good weather"
        kept = [(site.connections(), site.threads()) for site in sites]
        visits = [asyncio.create_task(crowd.visit()) for crowd in place.crowds]
        await asyncio.sleep(SUNSHINE)
        begin = time.monotonic()
        await asyncio.to_thread(weather.happens, place)
        end = time.monotonic()
        recoveries = await asyncio.gather(*(_recovery(crowd, end) for crowd in place.crowds))
        for crowd in place.crowds:
            crowd.end()
        await asyncio.gather(*visits)
        return [
            await _row(weather, place, crowd, (begin, end), recovery, *before_it)
            for crowd, recovery, before_it in zip(place.crowds, recoveries, kept, strict=True)
        ]


async def _recovery(crowd: Crowd, end: float) -> float | None:
    """Seconds from ``end`` to the last failure. ``None`` if they go on and on."""
    while time.monotonic() < end + RECOVERY:
        await asyncio.sleep(0.1)
        last = max(crowd.last_failure(), end)
        if crowd.oldest_in_flight() > end and time.monotonic() > last + QUIET:
            return last - end
    return None


async def _row(
    weather: Weather,
    place: Place,
    crowd: Crowd,
    lasted: tuple[float, float],
    recovery: float | None,
    connections: int,
    threads: int,
) -> Row:
    site: Site = crowd.site
    begin, end = lasted
    shards = place.settings.get("INDEX_SHARDS")
    with place.everything() as client:
        findings = await inspected(crowd, client, shards)
    for _ in range(50):  # threads that nothing needs any more may take a moment to end
        if site.threads() <= threads:
            break
        await asyncio.sleep(0.1)
    return Row(
        weather=weather,
        site=site.name,
        before=USERS,
        answers=list(crowd.answers),
        answers_meanwhile=[one for one in crowd.answers if one.sent > begin and one.received < end],
        findings=findings,
        recovery=recovery,
        connections=(connections, site.connections()),
        threads=(threads, site.threads()),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.weather",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "weathers", nargs="*", metavar="weather", help=f"Weathers: {', '.join(WEATHERS)}."
    )
    parser.add_argument("--sites", nargs="+", choices=KINDS, help="ways to serve the site")
    parser.add_argument("--engine", choices=("ours", "cache"), help="the session engine")
    parser.add_argument("--topologies", nargs="+", choices=tuple(SCHEMES), help="where it happens")
    parser.add_argument("--server", help="the server's program, in place of TEST_SERVER")
    options = parser.parse_args()
    if unknown := set(options.weathers) - set(WEATHERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Weathers: {', '.join(WEATHERS)}.")
    return options


if __name__ == "__main__":
    main()
