"""
Writes the outcome of each test into the file that the run names, with either test runner.

For pytest, this module is a plugin. For ``django test``, ``Runner`` is the test runner. This runs
in the application's virtual environment.
"""

import json
from pathlib import Path

import django.conf
from django.conf import global_settings
from django.test.runner import DiscoverRunner
from swapped_settings import RUN, swapped

BY_WEIGHT = ("passed", "skipped", "failed")

outcomes: dict[str, str] = {}


def note(test: str, outcome: str) -> None:
    """Of several outcomes, such as those of a test and its teardown, the worst one counts."""
    outcomes[test] = max(outcomes.get(test, outcome), outcome, key=BY_WEIGHT.index)


def write() -> None:
    Path(RUN["outcomes"]).write_text(json.dumps(outcomes))


# pytest


def pytest_runtest_logreport(report) -> None:
    if report.when == "call" or report.outcome != "passed":
        note(report.nodeid, report.outcome)


def pytest_collectreport(report) -> None:
    if report.failed:
        note(report.nodeid, "failed")


def pytest_sessionfinish(session) -> None:
    if not hasattr(session.config, "workerinput"):
        write()


if not RUN["module"]:
    configure = django.conf.LazySettings.configure

    def swapped_configure(self, default_settings=global_settings, **options) -> None:
        """Suites that have no settings module call ``settings.configure()``."""
        configure(self, default_settings, **swapped(options))

    django.conf.LazySettings.configure = swapped_configure


# django test


class Runner(DiscoverRunner):
    """
    Notes the outcomes, and does nothing else differently.

    unittest names a subtest after its test and its parameters, and a failed ``setUpClass`` after
    the class.
    """

    def get_resultclass(self):
        of_tests = super().get_resultclass() or self.test_runner.resultclass

        class Result(of_tests):
            def stopTest(self, test):  # noqa: N802
                super().stopTest(test)
                note(test.id(), "passed")

        return Result

    def run_suite(self, suite, **kwargs):
        result = super().run_suite(suite, **kwargs)
        for test, _ in [*result.failures, *result.errors]:
            note(test.id(), "failed")
        for test in result.unexpectedSuccesses:
            note(test.id(), "failed")
        for test, _ in result.skipped:
            note(test.id(), "skipped")
        write()
        return result
