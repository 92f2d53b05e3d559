"""
Requests per second of a site, by engine: WSGI under gunicorn, ASGI under uvicorn, one process each.

Every answer is checked. The engines take turns within each round, and what is compared was measured
in the same round: whatever else the machine does meanwhile meets them all alike. Each site has one
core, and the load has the others: threads that wake each other across cores take twice as long, or
not, as the machine likes, and Python runs one of them at a time anyway.
"""

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.bench import Bench, Cell, Table
from benchmarks.engines import ENGINES, OURS, Engine, require
from benchmarks.sites import (
    NAMES,
    NONE,
    ROOT,
    SERVERS,
    SESSIONS,
    ServingError,
    Site,
    cores,
    visited,
)

VIEWS = ("untouched", "reading", "writing")

# USUAL is what all are measured with; databases take their time and are measured with nothing else.
# Each with the seconds it is measured for: of many connections, each shall be answered repeatedly.
USUAL = 32
CONNECTIONS = {1: 0.3, USUAL: 0.5, 256: 0.8}

# A round takes a minute and a half.
MOST_ROUNDS = 5

# By case and by the engine's slug: what `load` told in each round.
Outcomes = dict["Case", dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True)
class Case:
    """What is measured for each engine."""

    view: str
    connections: int

    def includes(self, engine: Engine) -> bool:
        if engine is NONE:
            return self.view == "untouched"
        return engine.in_redis_alone or self.connections == USUAL

    def __str__(self) -> str:
        return f"{self.view}, {self.connections} connection{'s' * (self.connections > 1)}"


def measure(bench: Bench) -> list[Table]:
    """
    Raises `ServingError` if any answer of any engine is wrong. Only with more connections than
    ``USUAL`` an engine may refuse some: then it has no figure there, and the note says so.
    """
    require("gunicorn", "uvicorn", "django_redis", "redis_sessions")
    connections = (USUAL,) if bench.quick else CONNECTIONS
    cases = [Case(view, number) for view in VIEWS for number in connections]
    tables = []
    for protocol in SERVERS:
        with ExitStack() as stack:
            sites = [
                stack.enter_context(visited(bench, engine, protocol)) for engine in (*ENGINES, NONE)
            ]
            outcomes = compared(bench, sites, cases)
        tables += tables_of(protocol, outcomes)
    return tables


def compared(bench: Bench, sites: list[Site], cases: list[Case]) -> Outcomes:
    outcomes: Outcomes = {case: {} for case in cases}
    rounds = min(bench.rounds, MOST_ROUNDS)
    server = NAMES[sites[0].protocol]
    for number in range(rounds):
        first = number % len(sites)
        for case in cases:
            bench.progress(f"{server}: {case} (round {number + 1} of {rounds})")
            for site in (*sites[first:], *sites[:first]):
                if case.includes(site.engine):
                    told = outcomes[case].setdefault(site.engine.slug, [])
                    told.append(burst(site, case))
    return outcomes


def burst(site: Site, case: Case) -> dict[str, Any]:
    """What `load` tells of some requests, see `Outcome` there."""
    where = f"{site.engine.name}, {NAMES[site.protocol]}, {case}"
    numbers = [number % SESSIONS for number in range(case.connections)]
    bodies = {"untouched": "untouched", "writing": "written"}
    path = "reading/number" if case.view == "reading" else case.view
    job = {
        "port": site.port,
        "path": f"/{site.protocol}/{path}",
        "seconds": CONNECTIONS[case.connections],
        "process": site.process,
        "cores": cores()[1:],
        "visitors": [(site.visitors[n], bodies.get(case.view, str(n))) for n in numbers],
    }
    seen = site.seen()
    load = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        cwd=ROOT, input=json.dumps(job), text=True, capture_output=True, check=False,
    )  # fmt: skip
    if load.returncode:
        raise ServingError(f"{where}: {load.stderr}")
    outcome: dict[str, Any] = json.loads(load.stdout)
    if not outcome["answers"] or (outcome["errors"] and case.connections <= USUAL):
        raise ServingError(f"{where}: {outcome['answers']} right answers, {outcome['errors']}.")
    if (site.seen() != seen) != (case.view == "writing"):
        raise ServingError(f"{where}: an entry that was {seen} is {site.seen()} now.")
    return outcome


def tables_of(protocol: str, outcomes: Outcomes) -> list[Table]:
    engines = (*ENGINES, NONE)
    others = [engine for engine in engines if engine is not OURS]
    refused = _refused(outcomes)
    return [
        Table(
            name=f"serving-{protocol}",
            title=f"{NAMES[protocol]}: requests per second, ours to theirs",
            unit="ours / theirs",
            columns=tuple(engine.name for engine in others),
            rows=tuple(
                (str(case), *(_ratio(of_case, engine) for engine in others))
                for case, of_case in outcomes.items()
            ),
            note="Above 1, our engine serves more. Medians of the ratios within each round. "
            f"A site without sessions shows the best that any engine could reach.{refused}",
            details={whose: _shares(outcomes, whose) for whose in ("server_cpu", "load_cpu")},
        ),
        Table(
            name=f"serving-{protocol}-absolute",
            title=f"{NAMES[protocol]}: requests per second",
            unit="requests/s",
            columns=tuple(engine.name for engine in engines),
            rows=tuple(
                (str(case), *(_rate(of_case, engine) for engine in engines))
                for case, of_case in outcomes.items()
            ),
            plot=False,
            note=f"One process, on one core.{refused}",
            details={"rounds": {str(case): {slug: _rates(told) for slug, told in of_case.items()}
                                for case, of_case in outcomes.items()}},
        ),
    ]  # fmt: skip


def _rates(told: list[dict[str, Any]]) -> list[float]:
    """Of each round; none at all if the engine was not measured, or refused a request."""
    if any(outcome["errors"] for outcome in told):
        return []
    return [outcome["answers"] / outcome["seconds"] for outcome in told]


def _rate(of_case: dict[str, list[dict[str, Any]]], engine: Engine) -> Cell:
    rates = _rates(of_case.get(engine.slug, []))
    return median(rates) if rates else None


def _ratio(of_case: dict[str, list[dict[str, Any]]], engine: Engine) -> Cell:
    ours, theirs = _rates(of_case[OURS.slug]), _rates(of_case.get(engine.slug, []))
    if not (ours and theirs):
        return None
    return median(our / their for our, their in zip(ours, theirs, strict=True))


def _refused(outcomes: Outcomes) -> str:
    lines = []
    for case, of_case in outcomes.items():
        for slug, told in of_case.items():
            errors = Counter[str]()
            for outcome in told:
                errors.update(outcome["errors"])
            if errors:
                what, _ = errors.most_common(1)[0]
                lines.append(f" {slug} at {case}: {errors.total()} refused, as {what}.")
    return "".join(lines)


def _shares(outcomes: Outcomes, whose: str) -> dict[str, dict[str, float | None]]:
    return {
        str(case): {slug: _share([one[whose] for one in told]) for slug, told in of_case.items()}
        for case, of_case in outcomes.items()
    }


def _share(shares: list[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return round(median(known), 2) if known else None
