"""A virtual environment and the source of an application, kept from run to run in ``.sites``."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
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


def prepared(application: Application, django: str | None, clones: dict[str, str]) -> Home:
    """
    Install the application with what its tests need, and get its source.

    ``django``: a requirement in place of the one in the catalog. ``clones``: by application, the
    repository to clone in place of the one in the catalog.
    """
    requirements = [*application.requirements(), *([django] if django else [])]
    folder = KEPT / f"{application.name}-{_digest([sys.version, *requirements])}"
    home = Home(folder / "venv" / "bin" / "python", folder / "source")
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=True)
        _pip(home.python, "install", *requirements, "--editable", str(ROOT))
        if application.repository:
            repository = clones.get(application.name, application.repository)
            _clone(repository, application.tag, home.source)
        else:
            _unpack(application, home, folder)
        (folder / "ready").touch()
    return home


def _digest(words: list[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]


def _pip(python: Path, *arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", *arguments, *quiet], check=True)


def _clone(repository: str, tag: str, target: Path) -> None:
    subprocess.run(
        ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--branch", tag]
        + [repository, str(target)],
        check=True,
    )


def _unpack(application: Application, home: Home, folder: Path) -> None:
    pinned = f"{application.package}=={application.version}"
    source_only = ["--no-deps", "--no-binary", application.package]
    _pip(home.python, "download", *source_only, "--dest", str(folder), pinned)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (inner,) = (folder / "unpacked").iterdir()
    inner.rename(home.source)
