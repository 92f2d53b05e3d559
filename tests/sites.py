"""
Runs sites with ``manage.py runserver`` in their own processes, and has an HTTP client for them.
"""

import http.cookiejar
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tests.servers import free_port, wait_until
from tests.site import FIREFOX


class Site:
    """``manage.py runserver`` of the project in ``folder``. Its output is in ``log``."""

    def __init__(self, folder: Path, python: str = sys.executable, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.log = folder / f"runserver-{port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "-u", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, f"{self.url} answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            urllib.request.urlopen(f"{self.url}/none-such")
        except urllib.error.HTTPError as answer:
            answer.close()
        except urllib.error.URLError:
            return False
        return True

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Browser:
    """Keeps cookies, follows redirects, and adds the CSRF token of a form's page."""

    def __init__(self, agent: str = FIREFOX) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self._opener.addheaders = [("User-Agent", agent)]

    def get(self, url: str) -> str:
        with self._opener.open(url) as answer:
            self.url = answer.url
            return answer.read().decode()

    def post(self, page: str, to: str | None = None, **form: str) -> str:
        """Send a form that is on ``page``, to that page or to another URL."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(page))
        assert token, f"no form on {page}"
        fields = urllib.parse.urlencode({**form, "csrfmiddlewaretoken": token[1]})
        request = urllib.request.Request(to or page, fields.encode(), {"Referer": page})
        with self._opener.open(request) as answer:
            self.url = answer.url
            return answer.read().decode()

    def cookie(self, name: str) -> str | None:
        return next((cookie.value for cookie in self.cookies if cookie.name == name), None)
