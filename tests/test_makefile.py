"""``make``: which Python creates ``.venv``, and when it is created again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import required
from tests.site import ROOT

PYTHON = f"PYTHON={sys.executable}"


class Checkout:
    """A folder with the Makefile, and requirements that install nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / ".venv" / "bin" / "python"
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "pyproject.toml").touch()
        (folder / "requirements.txt").touch()

    def make(self, *words: str, check: bool = True, **environment: str):
        # These tests may run under another make, which passes its variables to its children.
        of_make = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "PORT"}
        kept = {name: value for name, value in os.environ.items() if name not in of_make}
        return subprocess.run(
            [required("make"), ".venv/.installed", *words],
            cwd=self.folder,
            env=kept | environment,
            capture_output=True,
            text=True,
            check=check,
        )

    def would_make(self, *words: str, **environment: str) -> str:
        """The commands that make would run for ``.venv``."""
        commands = self.make("--dry-run", *words, **environment).stdout
        return "anew" if " -m venv --clear " in commands else "keep"

    def put_other_python(self, script: str = "echo 0 /another") -> None:
        """An existing ``.venv`` whose Python reports that it is another one."""
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.unlink(missing_ok=True)
        self.python.write_text(f"#!/bin/sh\n{script}\n")
        self.python.chmod(0o755)
        (self.folder / ".venv" / "pyvenv.cfg").touch()
        (self.folder / ".venv" / ".installed").touch()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.mark.parametrize(("words", "port"), [([], 8000), (["PORT=8001"], 8001)])
def test_the_port(checkout, words, port):
    """PORT replaces the site's port 8000."""
    commands = checkout.make("--dry-run", "run", *words).stdout
    assert f" runserver 127.0.0.1:{port}\n" in commands


def test_a_venv_of_another_python(checkout):
    """PYTHON creates it again. Then it is kept, with PYTHON and without."""
    checkout.put_other_python()
    checkout.make(PYTHON)
    said = [checkout.python, "-c", "import sys; print(sys.base_prefix)"]
    assert subprocess.check_output(said, text=True).strip() == sys.base_prefix
    assert checkout.would_make(PYTHON) == checkout.would_make() == "keep"
    assert checkout.would_make(PYTHON=sys.executable) == "keep"
    (checkout.folder / "requirements.txt").touch()
    assert checkout.would_make() == "keep"
    assert "pip install" in checkout.make("--dry-run").stdout


def test_without_python_a_venv_stays_with_its_own(checkout):
    """A ``.venv`` that was created with PYTHON is kept by make without PYTHON."""
    checkout.put_other_python()
    assert checkout.would_make() == "keep"
    assert checkout.would_make(PYTHON) == "anew"
    assert checkout.would_make(PYTHON=sys.executable) == "anew"


@pytest.mark.parametrize("words", [(), (PYTHON,)])
def test_a_venv_that_does_not_run(checkout, words):
    """It is created again if its Python was removed, or if it does not exist yet."""
    assert checkout.would_make(*words) == "anew"
    checkout.put_other_python("exit 127")
    assert checkout.would_make(*words) == "anew"


@pytest.mark.parametrize("old", ["exit 1", "no-such-program"])
def test_a_python_that_cannot_make_it(checkout, old):
    """If that Python is too old or missing, an existing ``.venv`` stays."""
    checkout.put_other_python()
    python = checkout.folder / "old-python"
    python.write_text(f"#!/bin/sh\n{old}\n")
    python.chmod(0o755)
    assert checkout.make(f"PYTHON={python}", check=False).returncode != 0
    assert "another" in checkout.python.read_text()
    assert (checkout.folder / ".venv" / ".installed").exists()
