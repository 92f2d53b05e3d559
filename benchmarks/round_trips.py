"""
Count the round trips of each operation on each topology, and put the table into docs/design.md.

    python -m benchmarks.round_trips

In a Cluster, commands for several nodes travel at the same time: one round.
"""

import argparse
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import redis_server
from benchmarks.engines import OURS, at, configure

PAGE = Path(__file__).parent.parent / "docs" / "design.md"

BEGIN, END = "<!-- topologies -->", "<!-- end -->"

TAGGED = "{session}"
SERVER, SENTINEL, ONE_SLOT, CLUSTER = (
    "one server",
    "Sentinel",
    f"Cluster, `{TAGGED}`",
    "Cluster",
)

# How often everything is done before it is counted, so that each node of a Cluster knows each
# script. And how often it is counted: the table has what occurs most.
WARM_UP = 30
TIMES = 9

_COMMAND = re.compile(rb"\*\d+\r\n\$\d+\r\n")

Operation = tuple[Callable[[Any], Any], Callable[[Any], Any]]


class Traffic:
    """
    Counts what this process sends to ``ports``: commands, and rounds of parallel round trips.

    That is exact for a client that sends everything, then reads: a round begins when something is
    sent after something was read.
    """

    def __init__(self, ports: Collection[int]) -> None:
        self.rounds = self.commands = 0
        self._ports = ports
        self._has_read = True

    @contextmanager
    def watched(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name in ("send", "sendall"):
                self._watch(name, self._sends, stack)
            for name in ("recv", "recv_into"):
                self._watch(name, self._reads, stack)
            yield

    def _watch(self, name: str, happens: Callable[..., None], stack: ExitStack) -> None:
        original = getattr(socket.socket, name)
        inherited = name not in vars(socket.socket)

        def watched(one: socket.socket, *arguments: Any) -> Any:
            result = original(one, *arguments)  # raises if there is nothing to read yet
            if one.family == socket.AF_INET and one.getpeername()[1] in self._ports:
                happens(*arguments)
            return result

        setattr(socket.socket, name, watched)
        if inherited:
            stack.callback(delattr, socket.socket, name)
        else:
            stack.callback(setattr, socket.socket, name, original)

    def _sends(self, sent: bytes, *_: Any) -> None:
        self.rounds += self._has_read
        self._has_read = False
        self.commands += len(_COMMAND.findall(sent))

    def _reads(self, *_: Any) -> None:
        self._has_read = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    page: Path = parser.parse_args().page
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        parser.error(f"{page} has no {BEGIN} with {END} after it.")
    with tempfile.TemporaryDirectory() as folder:
        table = "\n".join(_table(Path(folder)))
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")
    print(table)


def _table(folder: Path) -> Iterator[str]:
    """Its lines. A cell has the rounds, and in the last column the commands."""
    configure("redis://127.0.0.1:1/0", folder / "db.sqlite3")
    counted = {}
    with _topologies(folder) as topologies:
        for name, (url, ports, more) in topologies.items():
            with at(url, **{"KEY_PREFIX": "session", **more}), OURS.active():
                counted[name] = _counted(Traffic(ports))
    yield f"| operation | {' | '.join(counted)} | commands in a Cluster |"
    yield f"| --- {'| ---: ' * (len(counted) + 1)}|"
    for operation in counted[SERVER]:
        rounds = [str(of_topology[operation][0]) for of_topology in counted.values()]
        yield f"| {operation} | {' | '.join(rounds)} | {counted[CLUSTER][operation][1]} |"


@contextmanager
def _topologies(folder: Path) -> Iterator[dict[str, tuple[str, set[int], dict[str, Any]]]]:
    """The servers: the URL, the ports of those that have sessions, and more settings of each."""
    from tests.clustered import Cluster
    from tests.replicated import Replicated

    with ExitStack() as stack, redis_server.started() as url:
        (folder / "watched").mkdir()
        watched = Replicated(folder / "watched", replicas=1)
        stack.callback(watched.stop)
        cluster = Cluster(folder / "cluster", replicas=0)
        stack.callback(cluster.stop)
        nodes = {server.port for server in cluster.servers}
        yield {
            SERVER: (url, {int(url.rpartition(":")[2].partition("/")[0])}, {}),
            SENTINEL: (watched.url, {server.port for server in watched.servers}, {}),
            ONE_SLOT: (cluster.url, nodes, {"KEY_PREFIX": TAGGED}),
            CLUSTER: (cluster.url, nodes, {"INDEX_SHARDS": 16}),
        }


def _counted(traffic: Traffic) -> dict[str, tuple[int, int]]:
    """By operation: its rounds and its commands."""
    from tests.test_round_trips import exercise, saved

    for _ in range(WARM_UP):
        exercise(OURS.store())
    found = {}
    for name, (operate, prepare) in _operations().items():
        seen: Counter[tuple[int, int]] = Counter()
        for _ in range(TIMES):
            subject = prepare(saved(color="red", _auth_user_id="1"))
            before = traffic.rounds, traffic.commands
            with traffic.watched():
                operate(subject)
            seen[traffic.rounds - before[0], traffic.commands - before[1]] += 1
        found[name] = seen.most_common(1)[0][0]
    return found


def _operations() -> dict[str, Operation]:
    from sessions_redis import registry
    from tests.test_round_trips import OPERATIONS

    def session_id(session: Any) -> str:
        return registry.of_user("1")[0].id if session else ""

    return {
        **{name: (operate, prepare) for name, (operate, prepare, _) in OPERATIONS.items()},
        "`registry.count`": (lambda _: registry.count(), _same),
        "`registry.latest(0, 50)`": (lambda _: registry.latest(0, 50), _same),
        "`registry.latest(100, 150)`": (lambda _: registry.latest(100, 150), _many),
        "`registry.of_user`": (lambda _: registry.of_user("1"), _alone),
        "`registry.find`": (registry.find, session_id),
        "`registry.end`": (registry.end, session_id),
        "`registry.end_all_of`, 1 session": (lambda _: registry.end_all_of("1"), _alone),
        "`registry.end_all_of`, 10 sessions": (lambda _: registry.end_all_of("1"), _ten),
    }


def _same(session: Any) -> Any:
    return session


def _alone(session: Any) -> Any:
    from sessions_redis import registry

    registry.end_all_of("1", except_session_key=session.session_key)


def _ten(session: Any) -> Any:
    from tests.test_round_trips import saved

    _alone(session)
    for _ in range(9):
        saved(color="red", _auth_user_id="1")


def _many(_: Any) -> Any:
    from sessions_redis import registry
    from tests.test_round_trips import saved

    while registry.count() < 200:
        saved(color="red")


if __name__ == "__main__":
    main()
