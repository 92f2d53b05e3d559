"""
Measures the move of many sessions beside a site with busy visitors.

    python -m tests.moving_site
    python -m tests.moving_site db cached_db cache file --sessions 100000 --users 200

Prints a row for each former engine.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.moving_site.sites import ENGINES, Site, used_by
from tests.servers import Server

# Sessions of each user, seconds between what a user does, and how often it is with a new session.
EACH = 20
PAUSE = 1.0
NEWS = 0.05


def main():
    parser = argparse.ArgumentParser("python -m tests.moving_site", description=__doc__)
    parser.add_argument("engines", nargs="*", choices=[*ENGINES, []], help="Default: all.")
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=200, help="0: no site runs.")
    parser.add_argument("--database", type=json.loads, help="The setting, if not SQLite.")
    parser.add_argument("--rate", default="")
    options = parser.parse_args()
    print(
        "engine     sessions  seconds  per s  CPU s  RSS MB  answers  signed out  lost  otherwise"
    )
    for engine in options.engines or ENGINES:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder))
            try:
                measure(Path(folder), engine, server, options)
            finally:
                server.stop()


def measure(folder, engine, server, options):
    site = Site(folder, engine, server.url, "session", server.url, options.database)
    visitors = site.prepare(options.sessions, options.users, EACH)
    more = ["--rate", options.rate] if options.rate else []
    if not visitors:
        print(row(engine, options, *moved(site, more)), flush=True)
    else:
        with site.visited(visitors, PAUSE, NEWS) as outcome:
            time.sleep(2)
            before = outcome.answers
            said = moved(site, more)
            during = outcome.answers - before
        print(row(engine, options, *said), end="")
        print(
            f"{during:9,} {outcome.signed_out:11} {outcome.lost:5}  {dict(outcome.otherwise)}",
            flush=True,
        )
    process = site.migrate("--check")
    print(process.communicate()[0], file=sys.stderr)


def moved(site, more):
    began = time.monotonic()
    process = site.migrate(*more)
    said = process.stdout.read()
    status, usage = used_by(process)
    print(said, file=sys.stderr)
    if status:
        sys.exit(f"The command failed with {status}.")
    return time.monotonic() - began, usage


def row(engine, options, seconds, usage):
    cpu = usage.ru_utime + usage.ru_stime
    speed = options.sessions / seconds
    return (
        f"{engine:9} {options.sessions:9,} {seconds:8.1f} {speed:6,.0f} {cpu:6.1f} "
        f"{usage.ru_maxrss / 1024:7.1f}"
    )


if __name__ == "__main__":
    main()
