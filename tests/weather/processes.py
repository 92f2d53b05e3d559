"""What the processes of a site keep open: threads, and connections to Redis. On Linux."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def family(process: int) -> list[int]:
    """This process, its children, and theirs."""
    found = [process]
    with suppress(FileNotFoundError):
        for task in (PROC / str(process) / "task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def threads(process: int) -> int:
    """The threads of all processes of that family."""
    return sum(len(list((PROC / str(one) / "task").iterdir())) for one in family(process))


def connections(process: int, ports: Collection[int]) -> int:
    """The family's sockets that lead, or led, to one of those ports."""
    own = set().union(*map(_sockets, family(process)))
    return len(own & _sockets_to(ports))


def _sockets(process: int) -> set[str]:
    found = set()
    for opened in (PROC / str(process) / "fd").iterdir():
        with suppress(FileNotFoundError):
            name = str(opened.readlink())
            if name.startswith("socket:["):
                found.add(name[len("socket:[") : -1])
    return found


def _sockets_to(ports: Collection[int]) -> set[str]:
    # Columns: number, local address, remote address (0100007F:1F90), state, ..., inode at 9.
    rows = [line.split() for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if int(row[2].partition(":")[2], 16) in ports}
