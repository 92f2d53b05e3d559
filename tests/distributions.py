"""The wheel and the sdist, built from a copy of what git tracks, and how a test runs programs."""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from tests.documents import ROOT, text_of


def environment() -> dict[str, str]:
    """
    This process's environment, without variables that point at the checkout or at another Redis.
    """
    left_out = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "REDIS_URL"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def run(*command: str, cwd: Path, **variables: str) -> str:
    """What ``command`` prints. It has to succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


IGNORED = text_of(".gitignore").split()


def tracked(folder: str = ".") -> set[str]:
    """The files below ``folder``, without what ``.gitignore`` names. Git need not be there."""
    found: set[str] = set()
    for parent, folders, files in os.walk(ROOT / folder):
        place = Path(parent).relative_to(ROOT)
        folders[:] = [name for name in folders if name != ".git" and not is_ignored(place / name)]
        found |= {str(place / name) for name in files if not is_ignored(place / name)}
    return found - {".git"}  # which is a file in a work tree


def is_ignored(path: Path) -> bool:
    for pattern in IGNORED:
        name = pattern.strip("/")
        if fnmatch(str(path) if "/" in name or pattern[0] == "/" else path.name, name):
            return True
    return False


class Distributions:
    """
    What ``python -m build`` makes: the sdist, and of that the wheel.

    The sources are copied first, because a build can leave files that the next one packs.
    """

    def __init__(self, folder: Path) -> None:
        for name in sorted(tracked()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.printed = run(sys.executable, "-m", "build", cwd=folder)
        (self.wheel,) = (folder / "dist").glob("*.whl")
        (self.sdist,) = (folder / "dist").glob("*.tar.gz")

    @cached_property
    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    @cached_property
    def in_sdist(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            files = [member.name for member in archive.getmembers() if member.isfile()]
        return {name.partition("/")[2] for name in files}

    @cached_property
    def metadata(self) -> Message:
        (name,) = [name for name in self.in_wheel if name.endswith(".dist-info/METADATA")]
        with zipfile.ZipFile(self.wheel) as archive:
            return email.message_from_string(archive.read(name).decode())

    @property
    def readme(self) -> str:
        text = self.metadata.get_payload()
        assert isinstance(text, str)
        return text
