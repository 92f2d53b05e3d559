"""
Measure session engines side by side.

Uses the server of REDIS_URL, or starts one. Its keys have a prefix of their own, and are deleted at
the end.
"""

import argparse
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from benchmarks import redis_server, targets
from benchmarks.bench import Bench, Table
from benchmarks.engines import CannotMeasureError, MissingPackageError, configure, require
from benchmarks.results import Results, machine, shown

# In this order.
SECTIONS = (
    "operations",
    "layers",
    "wire",
    "memory",
    "encryption",
    "delay",
    "serving",
    "lost_updates",
    "outage",
    "scale",
    "server",
    "policies",
    "cluster",
)

ROUNDS = 11
ROUNDS_IN_A_HURRY = 5

FOLDER = Path(__file__).parent / "results"


def main() -> None:
    options = _options()
    # SIGTERM, too, stops the servers that this started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))
    try:
        require("tabulate", "matplotlib")
        with redis_server.running() as (redis_url, is_own), tempfile.TemporaryDirectory() as folder:
            configure(redis_url, Path(folder) / "db.sqlite3")
            bench = Bench(
                redis_url,
                Path(folder),
                options.rounds or (ROUNDS_IN_A_HURRY if options.quick else ROUNDS),
                _Progress(),
                own_server=is_own,
                quick=options.quick,
            )
            _run(bench, options.sections or SECTIONS, options.output)
    except MissingPackageError as missing:
        sys.exit(str(missing))
    except KeyboardInterrupt:
        sys.exit("Interrupted. Results so far are kept.")


def _run(bench: Bench, sections: tuple[str, ...], output: Path) -> None:
    from benchmarks.plots import draw

    output.mkdir(parents=True, exist_ok=True)
    results = Results(output)
    here = machine(redis_server.described(bench.redis_url))
    for section in sections:
        for table in _measured(section, bench):
            results.add(table, here)
            if table.plot:
                draw(table, output)
            print(f"{shown(table)}\n", flush=True)
        results.add(targets.table(results.tables), here)
        results.write()
    print(shown(targets.table(results.tables)))
    print(f"\nWritten to {results.file}. The pictures are beside it.", file=sys.stderr)


def _measured(section: str, bench: Bench) -> list[Table]:
    """The section's tables; none, and a line that says why, where it cannot be measured."""
    bench.progress(f"== {section}")
    try:
        measure = import_module(f"benchmarks.{section}").measure
        tables: list[Table] = measure(bench)
    except CannotMeasureError as reason:
        print(f"{section} is left out: {reason}", file=sys.stderr)
        return []
    finally:
        redis_server.clean(bench.redis_url)
    return tables


class _Progress:
    """Lines on stderr, with the minutes and seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"{minutes:3}:{seconds:02} {line}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"Sections: {', '.join(SECTIONS)}."
    )
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller numbers")
    parser.add_argument("--output", type=Path, default=FOLDER, help="a folder: %(default)s")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Sections: {', '.join(SECTIONS)}.")
    return options


if __name__ == "__main__":
    main()
