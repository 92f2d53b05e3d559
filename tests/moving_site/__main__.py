"""
Measures the move of many sessions beside a site with busy visitors.

    python -m tests.moving_site
    python -m tests.moving_site db cached_db cache file --sessions 100000 --users 200

Prints a row for each former engine.
"""

import argparse
import json
import os
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
        "engine     sessions  seconds  per s  CPU s: move  Redis   site  RSS MB  answers  "
        "signed out  lost  otherwise"
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
        print(row(engine, options, *moved(site, more, server.process)), flush=True)
    else:
        with site.visited(visitors, PAUSE, NEWS) as outcome:
            time.sleep(2)
            before = outcome.answers
            said = moved(site, more, server.process, site.process)
            during = outcome.answers - before
        print(row(engine, options, *said), end="")
        print(
            f"{during:9,} {outcome.signed_out:11} {outcome.lost:5}  {dict(outcome.otherwise)}",
            flush=True,
        )
    process = site.migrate("--check")
    print(process.communicate()[0], file=sys.stderr)


def moved(site, more, *others):
    """Move all. The seconds that it took, and the CPU seconds: those of ``others``, too."""
    began, before = time.monotonic(), list(map(cpu_of, others))
    process = site.migrate(*more)
    said = process.stdout.read()
    status, usage = used_by(process)
    print(said, file=sys.stderr)
    if status:
        sys.exit(f"The command failed with {status}.")
    seconds = time.monotonic() - began
    used = [cpu_of(other) - cpu for other, cpu in zip(others, before, strict=True)]
    return seconds, usage.ru_maxrss, [usage.ru_utime + usage.ru_stime, *used, 0.0]


def cpu_of(process):
    after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def row(engine, options, seconds, memory, used):
    speed = options.sessions / seconds
    return (
        f"{engine:9} {options.sessions:9,} {seconds:8.1f} {speed:6,.0f} {used[0]:12.1f} "
        f"{used[1]:6.1f} {used[2]:6.1f} {memory / 1024:7.1f}"
    )


if __name__ == "__main__":
    main()
