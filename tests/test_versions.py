"""Which versions are supported: pip, the docs and the tests agree."""

import re
import tomllib

from tests.documents import ROOT, text_of

PROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]
INSTALL = text_of("docs/install.md")


def test_the_oldest_versions_are_the_same_everywhere():
    """pip, docs/install.md and the suite with the oldest versions agree on what these are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = dict(re.findall(r"(\w+)(?:\[\w+])?>=([\d.]+)", " ".join(project["dependencies"])))
    assert least.keys() == {"django", "redis"}
    assert project["optional-dependencies"]["hiredis"] == [f"redis[hiredis]>={least['redis']}"]
    told = " ".join(INSTALL.split())
    assert f"Django ≥ {least['django']}, redis-py ≥ {least['redis']}" in told
    suites = (ROOT / ".ci" / "run").read_text()
    assert f"django=={least['django']} redis=={least['redis']}.0" in suites
