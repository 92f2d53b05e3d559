"""Which versions are supported: pip, the docs, the matrix and CI agree."""

import re
import tomllib
from collections import defaultdict

import noxfile
from tests.documents import ROOT, cells, section, text_of

PROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]
INSTALL = text_of("docs/install.md")
TABLE = section(INSTALL, "## Versions that are tested together")
CI = text_of(".ci/run")

LEAST = dict(re.findall(r"(\w+)>=([\d.]+)", " ".join(PROJECT["dependencies"])))


def documented():
    """The table of the docs: (Python, Django) and what is tested there."""
    (heading,) = [line for line in TABLE.splitlines() if line.startswith("| |")]
    djangos = re.findall(r"Django ([\d.]+)", heading)
    found = {}
    for python, *row in cells(TABLE):
        for django, cell in zip(djangos, row, strict=True):
            found[python.removeprefix("Python "), django] = set(cell.split(", ")) - {"—"}
    return found


def in_matrix():
    """The same, of the matrix."""
    found = defaultdict(set)
    for corner in noxfile.CORNERS:
        python, django, redis, without = re.fullmatch(
            r"py([\d.]+)-django([\d.]+)-redis([\d.]+)(-no-hiredis)?", corner.name
        ).groups()
        found[python, django].add(f"{redis} without hiredis" if without else redis)
    return found


def classified(kind):
    """The versions that the classifiers of the package name."""
    found = [re.fullmatch(rf"{kind} :: (\d+\.\d+)", one) for one in PROJECT["classifiers"]]
    return [match[1] for match in found if match]


def test_the_table_is_the_matrix():
    """The docs show each corner of the matrix, and no other."""
    shown = {where: redis for where, redis in documented().items() if redis}
    assert shown == in_matrix()


def test_the_table_is_what_the_package_declares():
    """Its rows and columns are the classifiers, and no combination that exists is left out."""
    pythons, djangos = (
        classified("Programming Language :: Python"),
        classified("Framework :: Django"),
    )
    table = documented()
    assert sorted({python for python, _ in table}) == pythons
    assert sorted({django for _, django in table}) == djangos
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    left_out = {where for where, redis in table.items() if not redis}
    assert left_out == {("3.11", "6.0"), ("3.11", "6.1")}  # Django needs Python 3.12 there
    assert f"Python {pythons[0]} to {pythons[-1]}" in " ".join(INSTALL.split())
    assert f"Python {pythons[0]} to {pythons[-1]}" in " ".join(text_of("README.md").split())


def test_each_version_is_tested_with_and_without_hiredis():
    """The corners of each major version of redis-py have both parsers."""
    found = {redis for there in in_matrix().values() for redis in there}
    plain = {redis[0] for redis in found if "without" not in redis}
    assert plain == {redis[0] for redis in found if "without" in redis} == {"6", "7", "8"}


def test_the_oldest_versions_are_the_same_everywhere():
    """pip, the docs and the matrix agree on what these are."""
    assert LEAST.keys() == {"django", "redis"}
    extras = PROJECT["optional-dependencies"]
    assert extras["hiredis"] == [f"redis[hiredis]>={LEAST['redis']}"]
    told = " ".join(INSTALL.split())
    assert f"Django ≥ {LEAST['django']}, redis-py ≥ {LEAST['redis']}" in told
    assert f"Django {LEAST['django']} or newer" in " ".join(text_of("README.md").split())
    (oldest,) = [corner for corner in noxfile.CORNERS if corner.django.startswith("django==")]
    assert oldest.django == f"django=={LEAST['django']}"
    assert oldest.redis == f"redis=={LEAST['redis']}.0"
    assert oldest.python == classified("Programming Language :: Python")[0]


def test_no_corner_has_a_version_that_pip_refuses():
    """A corner of Django 6.0 begins after the versions with the fault in cookies."""
    (django,) = [one for one in PROJECT["dependencies"] if one.startswith("django")]
    refused = re.findall(r"!=6\.0\.(\d+)", django)
    assert refused == [str(number) for number in range(len(refused))]
    of_6_0 = {corner.django for corner in noxfile.CORNERS if "6.0" in corner.django}
    assert of_6_0 == {f"django~=6.0.{len(refused)}"}


def test_ci_runs_the_matrix():
    """It runs each corner. ``make test`` is the one that plain nox leaves out."""
    (left_out,) = [corner for corner in noxfile.CORNERS if not corner.is_default]
    assert left_out.tests == []
    assert f"make test PYTHON=python{left_out.python}" in CI
    assert re.search(r"^\.venv/bin/nox$", CI, re.MULTILINE)


def test_the_names_are_told_apart():
    """Each corner has a name of its own, and words that say what it is for."""
    names = [corner.name for corner in noxfile.CORNERS]
    assert len(set(names)) == len(names)
    assert all(corner.why for corner in noxfile.CORNERS)


def test_the_corners_run_what_is_there():
    """Each file that a corner runs or leaves out is a test."""
    named = {word.removeprefix("--ignore=") for corner in noxfile.CORNERS for word in corner.tests}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
