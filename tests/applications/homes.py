"""A virtual environment and the source of an application, kept from run to run in ``.sites``."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass, replace
from pathlib import Path

from tests.applications.catalog import Application
from tests.documents import ROOT

KEPT = ROOT / ".sites"


@dataclass(frozen=True)
class Home:
    """``source``: the unpacked archive or the clone, which no run writes to."""

    python: Path
    source: Path

    def says(self, code: str) -> str:
        """What a line of Python prints there."""
        command = [str(self.python), "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class NotThereError(Exception):
    """The repository with the tests of an application cannot be cloned."""


def prepared(application: Application, django: str | None, clones: dict[str, str]) -> Home:
    """
    Install the application with what its tests need, and get its source.

    ``django``: a requirement in place of the one in the catalog. ``clones``: by application, the
    repository to clone in place of the one in the catalog. Raises ``NotThereError``.
    """
    repository = application.repository and clones.get(application.package, application.repository)
    further = [django or application.django, *application.needs]
    folder = KEPT / _name(application, [sys.version, repository, *further])
    home = Home(folder / "venv" / "bin" / "python", folder / "source")
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=True)
        itself = f"{application.package}{application.extras}=={application.version}"
        if repository:
            _clone(repository, application.tag, home.source)
            if application.is_built_there:
                # Some projects make a module with their version when they are built.
                itself = f"{application.package}{application.extras} @ {home.source.as_uri()}"
        else:
            _unpack(application, home, folder)
        _pip(home.python, "install", itself, *further, "--editable", str(ROOT))
        (folder / "ready").touch()
    return home


def _name(application: Application, versions: list[str]) -> str:
    """Another one if anything that is installed changes."""
    words = "\n".join([repr(replace(application, suites=())), *versions])
    return f"{application.package}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def _pip(python: Path, *arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", *arguments, *quiet], check=True)


def _clone(repository: str, tag: str, target: Path) -> None:
    options = ["--quiet", "--config", "advice.detachedHead=false", "--branch", tag]
    if subprocess.run(["git", "clone", *options, repository, target], check=False).returncode:
        raise NotThereError(f"{repository} cannot be cloned. --clone-from names another one.")


def _unpack(application: Application, home: Home, folder: Path) -> None:
    pinned = f"{application.package}=={application.version}"
    source_only = ["--no-deps", "--no-binary", application.package]
    _pip(home.python, "download", *source_only, "--dest", str(folder), pinned)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (inner,) = (folder / "unpacked").iterdir()
    inner.rename(home.source)
