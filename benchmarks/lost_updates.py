"""
How many updates an engine loses when requests of one session run at the same time.

    python -m benchmarks.lost_updates ours
    python -m benchmarks.lost_updates rediscache

Each process sets entries of its own in one session, a request at a time: load, set, save. Uses the
server of REDIS_URL, or starts one.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import redis_server
from benchmarks.bench import Bench, Table
from benchmarks.engines import ENGINES, Engine, by_slug, configure, require

ROOT = Path(__file__).parent.parent

PROCESSES = 8
UPDATES = 50

# More rounds would add nothing: each has hundreds of races.
ROUNDS = 3


class RaceError(Exception):
    """A process failed, or what the session holds in the end is not what was written."""


def measure(bench: Bench) -> list[Table]:
    """
    Raises `RaceError` if an update failed, because a refused update is not a lost one; and if no
    engine lost any update, because then there was no race.
    """
    lost: dict[str, list[int]] = {}
    require("django_redis", "redis_sessions")
    rounds = 1 if bench.quick else min(bench.rounds, ROUNDS)
    for number in range(rounds):
        for engine in ENGINES:
            bench.progress(f"lost updates: {engine.name} (round {number + 1} of {rounds})")
            lost.setdefault(engine.slug, []).append(
                race(engine, bench.redis_url, bench.folder / "lost_updates.sqlite3")
            )
    if not any(map(any, lost.values())):
        raise RaceError("No engine lost anything: the processes did not run at the same time.")
    return [
        Table(
            name="lost-updates",
            title=f"Updates lost, of {PROCESSES * UPDATES}",
            unit="updates",
            columns=("fewest", "most"),
            rows=tuple((e.name, min(lost[e.slug]), max(lost[e.slug])) for e in ENGINES),
            note=f"{PROCESSES} processes run at the same time. Each sets {UPDATES} entries "
            "of its own in one session.",
            details={"rounds": lost},
        )
    ]


def race(engine: Engine, redis_url: str, database: Path) -> int:
    """How many updates were lost, of ``PROCESSES * UPDATES``."""

    def step(name: str, *arguments: str, **options: object) -> "subprocess.Popen[str]":
        words = [name, engine.slug, redis_url, str(database), *arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lost_updates", *words],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, **options,
        )  # fmt: skip

    session_key = _output(step("create"))
    _run_together([
        lambda n=number: step("update", session_key, f"process-{n}", stdin=subprocess.PIPE)
        for number in range(PROCESSES)
    ])  # fmt: skip
    kept = set(_output(step("kept", session_key)).split())
    written = {_entry(f"process-{n}", i) for n in range(PROCESSES) for i in range(UPDATES)}
    if not kept or kept - written:
        raise RaceError(f"{engine.name}: {len(kept)} entries are kept, {kept - written} unknown.")
    return len(written - kept)


def _run_together(starts: list[Callable[[], "subprocess.Popen[str]"]]) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(start()) for start in starts]
        for worker in workers:
            worker.stdout.readline()  # it is ready
        for worker in workers:
            worker.stdin.close()
        for worker in workers:
            _output(worker)


def _output(process: "subprocess.Popen[str]") -> str:
    with process:
        output = process.stdout.read().strip()
    if process.returncode:
        raise RaceError(f"A process failed: {' '.join(process.args[1:])}. Its error is above.")
    return output


# What the processes do, each a command of its own.


def create(store: type) -> None:
    session = store()
    session.save()
    print(session.session_key)


def update(store: type, session_key: str, name: str) -> None:
    """Say "ready", wait until the standard input ends, and write."""
    store().exists("connects")
    print("ready", flush=True)
    sys.stdin.read()
    for number in range(UPDATES):
        session = store(session_key)
        session[_entry(name, number)] = number
        session.save()


def kept(store: type, session_key: str) -> None:
    session = store(session_key)
    print(*session.keys())
    session.delete()


def _entry(name: str, number: int) -> str:
    return f"{name}-{number}"


STEPS = {step.__name__: step for step in (create, update, kept)}


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        step, slug, redis_url, database, *arguments = sys.argv[1:]
        configure(redis_url, Path(database), slug=slug)
        STEPS[step](by_slug(slug).store, *arguments)
        return
    arguments = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    arguments.add_argument("engine", choices=[engine.slug for engine in ENGINES])
    engine = by_slug(arguments.parse_args().engine)
    with redis_server.running() as (redis_url, _), tempfile.TemporaryDirectory() as folder:
        lost = race(engine, redis_url, Path(folder) / "db.sqlite3")
    print(f"{engine.name} lost {lost} of {PROCESSES * UPDATES} updates")


if __name__ == "__main__":
    main()
