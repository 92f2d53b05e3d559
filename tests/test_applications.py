"""``make sites``: how other people's suites are run here, and how their results are compared."""

import sys
from dataclasses import replace

import pytest

from tests.applications.catalog import APPLICATIONS, Runner, Suite
from tests.applications.results import Comparison, Result, read, table
from tests.applications.runs import ENGINES, Run
from tests.documents import cells, section, text_of

FILE, CACHE, OURS, WITH_MIDDLEWARE = ENGINES

# A site of another project, with a test for each thing that can become of one.

SETTINGS = """
SECRET_KEY = "theirs"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = ("django.contrib.sessions.middleware.SessionMiddleware",)
ROOT_URLCONF = "test_theirs"
ALLOWED_HOSTS = ["testserver"]
"""

TESTS = """
import unittest

from django.conf import settings
from django.http import HttpResponse
from django.test import TestCase
from django.urls import path


def view(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


urlpatterns = [path("", view)]


class Tests(TestCase):
    def test_visits(self):
        self.client.get("/")
        self.assertEqual(self.client.get("/").content, b"2")

    def test_middleware(self):
        self.assertEqual(settings.MIDDLEWARE, ("{middleware}",))

    def test_that_fails_everywhere(self):
        self.fail()

    def test_that_fails_in_part(self):
        with self.subTest(part=1):
            self.fail()

    @unittest.skip("not here")
    def test_that_is_skipped(self):
        self.fail()

    @unittest.expectedFailure
    def test_that_should_fail(self):
        pass

    def test_that_fails_on_ours(self):
        self.assertNotIn("sessions_redis", settings.INSTALLED_APPS)


class Fixtures(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.fail()

    def test_without_its_data(self):
        pass
"""

CONFTEST = f"""
import django
from django.conf import settings

names = {{}}
exec({SETTINGS!r}, names)
settings.configure(**{{name: names[name] for name in names if name.isupper()}})
django.setup()
"""

CHOICES = {
    "django": Suite("their_settings", ("test_theirs",), runner=Runner.DJANGO),
    "pytest": Suite("", options=("-q",)),
}


@pytest.fixture
def run(tmp_path):
    """A function that runs a suite in the site above, under one engine."""

    def given(suite, engine, tests=TESTS):
        (source := tmp_path / "source").mkdir(exist_ok=True)
        middleware = engine.middleware or "django.contrib.sessions.middleware.SessionMiddleware"
        (source / "test_theirs.py").write_text(tests.replace("{middleware}", middleware))
        (source / "pytest.ini").write_text("[pytest]\n")
        if suite.settings == "their_settings":
            (source / "their_settings.py").write_text(SETTINGS)
        else:
            (source / "conftest.py").write_text(CONFTEST)
        (folder := tmp_path / engine.name).mkdir()
        return Run(suite, engine, sys.executable, source, folder)

    return given


@pytest.mark.parametrize("name", CHOICES)
def test_a_suite(run, name):
    """It runs with the engine and the middleware of the run, and each outcome is noted."""
    suite = CHOICES[name]
    outcomes = {engine: run(suite, engine).result() for engine in (FILE, WITH_MIDDLEWARE)}
    first, second = outcomes.values()
    alone = "test_that_fails_on_ours"
    everywhere = {"test_that_fails_everywhere", "test_that_should_fail"}
    for result, failing in ((first, everywhere), (second, everywhere | {alone})):
        names = {test.replace("::", ".").rpartition(".")[-1] for test in result.failures()}
        assert names >= failing
        assert names.isdisjoint({"test_visits", "test_middleware", alone} - failing)
        assert sum("test_that_fails_in_part" in test for test in result.failures()) == 1
        assert sum("Fixtures" in test for test in result.failures()) == 1
        assert result.count("skipped") == 1
    assert first.commands == 0
    assert second.commands >= 2
    assert second.left == 0
    compared = Comparison("theirs", "1.0", name, "5.2", [first, second])
    (fault,) = compared.faults()
    assert fault.startswith(f"theirs {name}, ours and middleware: ")
    assert fault.endswith(f"{alone} fails")


def test_a_suite_that_does_not_start(run):
    """The error has the end of its output, and the server is stopped."""
    with pytest.raises(AssertionError, match="No module named 'missing'"):
        run(replace(CHOICES["django"], settings="missing"), FILE).result()


def test_a_suite_without_tests(run):
    """A suite that runs nothing is an error, not a success."""
    with pytest.raises(AssertionError, match="no test ran"):
        run(CHOICES["django"], FILE, tests="urlpatterns = []").result()


# Comparing

THEIRS = Result("file", is_ours=False, outcomes={"a": "passed", "b": "failed"}, seconds=1)
MINE = Result("ours", is_ours=True, outcomes=THEIRS.outcomes, seconds=1, commands=5)


def compared(*results, **explained):
    return Comparison("theirs", "1.0", "", "5.2", results, explained=explained)


def test_the_same_failures():
    """What Django's engines fail as well is not a fault."""
    assert list(compared(THEIRS, replace(THEIRS, engine="cache"), MINE).faults()) == []


def test_a_failure_of_one_of_djangos_engines():
    """A test that one of Django's engines passes has to pass here."""
    other = replace(THEIRS, engine="cache", outcomes={"a": "passed", "b": "passed"})
    assert list(compared(THEIRS, other, MINE).faults()) == ["theirs, ours: b fails"]


def test_without_djangos_engines():
    """Every failure is a fault if nothing is there to compare with."""
    assert list(compared(MINE).faults()) == ["theirs, ours: b fails"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"outcomes": {"a": "failed", "b": "failed"}}, "a fails"),
        ({"outcomes": {"a": "skipped", "b": "failed"}}, "ran 1 tests of 2"),
        ({"outcomes": {"b": "failed"}}, "ran 1 tests of 2"),
        ({"commands": 0}, "the tests did not use the engine"),
        ({"left": 3}, "left 3 keys in Redis"),
    ],
)
def test_a_fault(change, fault):
    """Each way in which this engine can do worse than Django's is a fault, in words."""
    assert list(compared(THEIRS, replace(MINE, **change)).faults()) == [f"theirs, ours: {fault}"]


def test_a_suite_that_stores_no_session():
    """It does not have to send commands."""
    idle = replace(MINE, commands=0)
    assert list(replace(compared(THEIRS, idle), stores=False).faults()) == []


def test_an_explained_failure():
    """It is not a fault. If the test passes, the explanation is too old, and that is a fault."""
    failed = replace(MINE, outcomes={"a": "failed", "b": "failed"})
    assert list(compared(THEIRS, failed, a="why").faults()) == []
    assert list(compared(THEIRS, MINE, left_out="why").faults()) == []
    (fault,) = compared(THEIRS, MINE, a="why").faults()
    assert fault == "theirs, ours: a passes, so nothing is to be explained"


def test_the_table():
    """It has a row per suite, with the failures of each engine."""
    failed = replace(MINE, outcomes={"a": "failed", "b": "failed"}, commands=1500)
    one, other = cells(table([compared(THEIRS, MINE), compared(THEIRS, failed, a="why")]))
    assert one == ["theirs", "1.0", "5.2", "", "2", "1 failed", "1 failed, 5 commands", "0"]
    assert other[-2:] == ["2 failed, 1,500 commands", "1, explained"]
    assert cells(table([compared(THEIRS, failed)]))[0][-1] == "1"


def test_reading(tmp_path):
    """The outcomes are read as they were written."""
    (written := tmp_path / "outcomes.json").write_text('{"a": "passed"}')
    assert read(written) == {"a": "passed"}


# The docs


def test_the_table_of_the_docs():
    """It has each application and version that ``make sites`` runs, in the same order."""
    documented = cells(section(text_of("docs/applications.md"), "## What was run"))
    named = list(dict.fromkeys((row[0], row[1]) for row in documented))
    assert named == [(one.package, one.version) for one in APPLICATIONS]


def test_explanations_are_in_the_docs():
    """The page names each test that fails on this engine alone."""
    page = text_of("docs/applications.md")
    tests = [test for one in APPLICATIONS for suite in one.suites for test, _ in suite.explained]
    assert [test for test in tests if f"`{test.rpartition('.')[-1]}`" not in page] == []
