"""What the tests of an application gave under each engine, and what fails on this one alone."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Outcomes = dict[str, str]  # by test: "passed", "skipped" or "failed"


@dataclass(frozen=True)
class Result:
    """
    ``seconds``: how long the suite ran. ``commands``: how many of them the engine sent. ``left``:
    how many keys were in Redis when the suite had ended.
    """

    engine: str
    is_ours: bool
    outcomes: Outcomes
    seconds: float
    commands: int = 0
    left: int = 0

    def failures(self) -> set[str]:
        return {test for test, outcome in self.outcomes.items() if outcome == "failed"}

    def count(self, outcome: str) -> int:
        return Counter(self.outcomes.values())[outcome]

    def ran(self) -> int:
        return self.count("passed") + self.count("failed")


@dataclass(frozen=True)
class Comparison:
    """
    The results of one suite under several engines.

    ``explained``: by test that may fail on this engine alone, the reason. ``stores``: whether the
    tests store any session.
    """

    application: str
    version: str
    suite: str
    django: str
    results: Sequence[Result]
    explained: Mapping[str, str] = field(default_factory=dict)
    stores: bool = True

    def allowed(self) -> set[str]:
        """The tests that fail under each of Django's engines, too."""
        theirs = [one.failures() for one in self.results if not one.is_ours]
        return set.intersection(*theirs) if theirs else set()

    def ours_alone(self) -> dict[str, set[str]]:
        """By engine of ours: the tests that fail there, and that one of Django's engines passes."""
        allowed = self.allowed()
        return {one.engine: one.failures() - allowed for one in self.results if one.is_ours}

    def faults(self) -> Iterator[str]:
        """What must not be, in words. Nothing if this engine does as well as Django's."""
        name = f"{self.application} {self.suite}".strip()
        for engine, tests in self.ours_alone().items():
            for test in sorted(tests - self.explained.keys()):
                yield f"{name}, {engine}: {test} fails"
        most = max(one.ran() for one in self.results)
        for one in self.results:
            if one.is_ours and one.ran() < most:
                yield f"{name}, {one.engine}: ran {one.ran()} tests of {most}"
            for test in self.explained:
                if one.is_ours and one.outcomes.get(test) == "passed":
                    yield f"{name}, {one.engine}: {test} passes, so nothing is to be explained"
            if one.is_ours and self.stores and not one.commands:
                yield f"{name}, {one.engine}: the tests did not use the engine"
            if one.left:
                yield f"{name}, {one.engine}: left {one.left} keys in Redis"


def read(path: Path) -> Outcomes:
    """The outcomes that the plugin or the test runner wrote there."""
    outcomes: Outcomes = json.loads(path.read_text())
    assert outcomes, f"{path}: no test ran"
    return outcomes


def table(comparisons: Sequence[Comparison]) -> str:
    """In Markdown: one row per suite, one column per engine."""
    engines = [one.engine for one in comparisons[0].results]
    headings = ["application", "version", "Django", "suite", "tests", *engines, "ours alone"]
    lines = [headings, ["---"] * len(headings)]
    for one in comparisons:
        alone = set().union(*one.ours_alone().values())
        lines.append(
            [
                *(one.application, one.version, one.django, one.suite),
                str(max(result.ran() for result in one.results)),
                *(_cell(result) for result in one.results),
                f"{len(alone)}, explained"
                if alone and one.explained.keys() >= alone
                else str(len(alone)),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(result: Result) -> str:
    said = f"{result.count('failed')} failed"
    if result.is_ours:
        said += f", {result.commands:,} commands"
    return said
