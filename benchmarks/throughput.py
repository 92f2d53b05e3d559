"""Operations per second of workers that work at the same time: threads, processes, or tasks."""

import asyncio
import multiprocessing
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.actions import CREATE, READ, REQUEST, made
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import OURS, at, configure

# Of the processes: how many there are, and how many threads or tasks each has.
WAYS = {"8 threads": (1, 8), "4 processes": (4, 1), "32 tasks": (1, 32)}
TASKS = "32 tasks"

ACTIONS = {action.name: action for action in (READ, REQUEST, CREATE)}

SECONDS = 0.5

# Seconds until all workers have connected.
SETTLING = 0.5


class Throughput:
    """Processes that wait for something to do. ``folder``: for their database."""

    actions = tuple(ACTIONS)

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        most = max(processes for processes, _ in WAYS.values())
        pairs = [context.Pipe() for _ in range(most)]
        self._pipes = [ours for ours, _ in pairs]
        self._processes = [
            context.Process(target=_work, args=(theirs, folder / "db.sqlite3"), daemon=True)
            for _, theirs in pairs
        ]

    def __enter__(self) -> "Throughput":
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def seconds_each(self, way: str, action: str, url: str, settings: dict[str, Any]) -> float:
        """``SECONDS``, divided by the operations that all workers did in them."""
        processes, workers = WAYS[way]
        pipes = self._pipes[:processes]
        for pipe in pipes:
            pipe.send((way == TASKS, workers, action, url, settings))
        for pipe in pipes:
            pipe.recv()  # it has its sessions
        begin = time.time() + SETTLING
        for pipe in pipes:
            pipe.send(begin)
        done = [pipe.recv() for pipe in pipes]
        return SECONDS / sum(done)


def _work(pipe: Any, database: Path) -> None:
    configure("redis://127.0.0.1:1/0", database)
    while True:
        are_tasks, workers, action, url, settings = pipe.recv()
        with ExitStack() as stack:
            stack.enter_context(OURS.active())
            stack.enter_context(at(url, **settings))
            sessions = [made(OURS.store, SIGNED_IN["small"]) for _ in range(workers)]
            pipe.send("ready")
            begin = pipe.recv()
            run = _tasks if are_tasks else _threads
            pipe.send(run(ACTIONS[action], [one.session_key for one in sessions], begin))


def _threads(action: Any, keys: list[str], begin: float) -> int:
    done = [0] * len(keys)

    def work(number: int, key: str) -> None:
        action.run(action.prepared(OURS.store, key), SIGNED_IN["small"])  # connects
        time.sleep(max(0.0, begin - time.time()))
        while time.time() < begin + SECONDS:
            action.run(action.prepared(OURS.store, key), SIGNED_IN["small"])
            done[number] += 1

    threads = [threading.Thread(target=work, args=one) for one in enumerate(keys)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


def _tasks(action: Any, keys: list[str], begin: float) -> int:
    async def work(key: str) -> int:
        done = 0
        await action.arun(action.prepared(OURS.store, key), SIGNED_IN["small"])
        await asyncio.sleep(max(0.0, begin - time.time()))
        while time.time() < begin + SECONDS:
            await action.arun(action.prepared(OURS.store, key), SIGNED_IN["small"])
            done += 1
        return done

    async def work_all() -> int:
        return sum(await asyncio.gather(*map(work, keys)))

    return asyncio.run(work_all())
