"""
Runs other people's test suites on this engine, and on Django's engines for comparison.

Ends with an error if a test fails on this engine alone. The first run installs the applications
into .sites, which takes about half a minute for each of them.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.applications.catalog import APPLICATIONS, Application, Suite
from tests.applications.homes import Home, NotThereError, prepared
from tests.applications.results import Comparison, Result, table
from tests.applications.runs import ENGINES, Engine, Run

NAMES = list(dict.fromkeys(one.package for one in APPLICATIONS))


def main() -> None:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="sites-"))
    clones = dict(words.split("=", 1) for words in options.clone_from)
    comparisons: list[Comparison] = []
    left_out: list[str] = []
    for application in APPLICATIONS:
        if application.package in (options.applications or NAMES):
            try:
                home = prepared(application, options.django, clones)
            except NotThereError as error:
                left_out.append(f"{application.package} {application.version} is left out: {error}")
            else:
                comparisons += _compared(application, home, folder, options)
    print(f"\n{table(comparisons)}\n", *left_out, sep="\n")
    if faults := [fault for one in comparisons for fault in one.faults()]:
        sys.exit("\n".join([*faults, f"The logs are in {folder}."]))
    print("No test fails on this engine alone.")


def _compared(
    application: Application, home: Home, folder: Path, options: argparse.Namespace
) -> list[Comparison]:
    """Each suite under each engine, ``options.jobs`` of them at a time."""
    engines = [one for one in ENGINES if one.name in options.engine]
    suites = [
        replace(suite, tests=tuple(options.select)) if options.select else suite
        for suite in application.suites
        if suite.name in (options.suite or [suite.name])
    ]
    name = f"{application.package} {application.version}"
    runs = [
        Run(suite, engine, home.python, home.source, _made(folder, name, suite, engine))
        for suite in suites
        for engine in engines
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(_said, [name] * len(runs), runs))
    django = home.says("import django; print(django.__version__)")
    return [
        Comparison(
            *(application.package, application.version, suite.name, django),
            results=[
                result for run, result in zip(runs, results, strict=True) if run.suite is suite
            ],
            explained=dict(suite.explained),
            stores=suite.stores,
        )
        for suite in suites
    ]


def _said(name: str, run: Run) -> Result:
    result = run.result()
    counts = ", ".join(f"{result.count(one)} {one}" for one in ("passed", "failed", "skipped"))
    suite = f"{name} {run.suite.name}".strip()
    print(f"{suite}, {run.engine.name}: {counts} in {result.seconds:.0f} s", flush=True)
    return result


def _made(folder: Path, name: str, suite: Suite, engine: Engine) -> Path:
    made = folder / "-".join(f"{name} {suite.name} {engine.name}".split())
    made.mkdir()
    return made


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.applications",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [one.name for one in ENGINES]
    parser.add_argument(
        "applications", nargs="*", metavar="application", help=f"{', '.join(NAMES)}."
    )
    parser.add_argument("--engine", nargs="+", choices=names, default=names)
    parser.add_argument("--django", help='a requirement, such as "django~=6.0.4"')
    parser.add_argument("--suite", nargs="+", help='such as "regular"')
    parser.add_argument("--select", nargs="+", help="folders of tests, in place of all")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at a time")
    parser.add_argument(
        "--clone-from",
        nargs="+",
        default=[],
        metavar="APPLICATION=REPOSITORY",
        help="another repository for tests that the package index does not have",
    )
    options = parser.parse_args()
    if unknown := set(options.applications) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Known: {', '.join(NAMES)}.")
    return options


if __name__ == "__main__":
    main()
