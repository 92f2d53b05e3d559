"""The wheel and the sdist, as they go to the package index."""

import re
import sys
import tomllib

from tests.distributions import run, tracked
from tests.documents import ROOT, links, text_of

PROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]


def test_the_build_warns_of_nothing(distributions):
    """The sdist is built, and from the sdist the wheel."""
    assert "warning" not in distributions.printed.lower()


def test_the_wheel_holds_the_package_alone(distributions):
    """It has every file that git has of the package: code, scripts, pages, and nothing else."""
    package = {name for name in distributions.in_wheel if ".dist-info/" not in name}
    assert package == tracked("sessions_redis")
    kinds = {name.rpartition(".")[2] for name in package}
    assert {"py", "lua", "html", "css", "typed"} <= kinds
    assert "sessions_redis/migrations/0001_initial.py" in package


def test_translations_are_complete_in_the_wheel(distributions):
    """Each catalog is there as it is written, and as Django reads it."""
    catalogs = {name for name in distributions.in_wheel if "/locale/" in name}
    written = {name.removesuffix(".po") for name in catalogs if name.endswith(".po")}
    compiled = {name.removesuffix(".mo") for name in catalogs if name.endswith(".mo")}
    assert written == compiled


def test_the_sdist_is_the_repository(distributions):
    """A person who has only the sdist can read everything, and run the tests."""
    assert distributions.in_sdist == tracked() | {"PKG-INFO"}


def test_it_requires_two_packages(distributions):
    """Without extras, it needs Django and redis-py."""
    required = distributions.metadata.get_all("Requires-Dist", [])
    plain = [one for one in required if "extra ==" not in one]
    assert [re.match("[a-z-]+", one)[0] for one in plain] == ["django", "redis"]


def test_the_index_shows_the_readme(distributions):
    """The index can render it, and the metadata are valid."""
    run(sys.executable, "-m", "twine", "check", "--strict", str(distributions.wheel), cwd=ROOT)
    run(sys.executable, "-m", "twine", "check", "--strict", str(distributions.sdist), cwd=ROOT)


def test_links_of_the_readme_are_absolute(distributions):
    """On the index, each link leads to the same file, in the version that was released."""
    repository = PROJECT["urls"]["Repository"]
    release = rf"{re.escape(repository)}/(?:blob|raw)/v{re.escape(PROJECT['version'])}/"
    relative = re.sub(rf"(?<=\]\(){release}", "", distributions.readme)
    assert relative.strip() == text_of("README.md").strip()
    assert [link for link in links(distributions.readme) if not link.startswith("#")] == []


def test_pictures_of_the_readme_are_files(distributions):
    """A link to a picture leads to the picture, and any other link to the page that shows it."""
    shown = re.findall(r"!\[[^]]*\]\((\S+?)\)", distributions.readme)
    linked = re.findall(r"(?<!!)\[[^]!]*\]\((https://\S+?)\)", distributions.readme)
    own = PROJECT["urls"]["Repository"]
    assert [url for url in shown if url.startswith(own) and f"{own}/raw/" not in url] == []
    assert [url for url in linked if url.startswith(own) and f"{own}/blob/" not in url] == []
    assert shown
    assert linked


def test_the_addresses_of_the_project():
    """They are in one repository, and name files that are there."""
    urls = PROJECT["urls"]
    assert urls.keys() == {"Documentation", "Changelog", "Repository", "Issues"}
    for url in urls.values():
        assert url.startswith(urls["Repository"])
        _, found, path = url.partition("/main/")
        assert not found or (ROOT / path).exists(), url


def test_the_license_and_the_types_are_declared(distributions):
    """The license file is in the wheel, and type checkers find the types."""
    (found,) = [name for name in distributions.in_wheel if name.endswith("/LICENSE")]
    assert found
    assert "sessions_redis/py.typed" in distributions.in_wheel
    assert "Typing :: Typed" in PROJECT["classifiers"]
