"""
The settings of an application's tests, with the session engine of this run in them.

The variable SITES_RUN has the run, in JSON. This runs in the application's virtual environment,
where no other module of ours is but the engine.
"""

import importlib
import json
import os

from django.conf import global_settings

RUN = json.loads(os.environ["SITES_RUN"])

DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


def swapped(theirs: dict) -> dict:
    """Their settings with those of the run, and what the run replaces or adds in lists."""
    settings = theirs | RUN["settings"]
    if caches := RUN["caches"]:
        settings["CACHES"] = settings.get("CACHES", global_settings.CACHES) | caches
    if app := RUN["app"]:
        apps = settings["INSTALLED_APPS"]
        settings["INSTALLED_APPS"] = type(apps)([*apps, app])
    if middleware := RUN["middleware"]:
        names = settings["MIDDLEWARE"]
        assert DJANGOS in names, "their settings have no session middleware to replace"
        settings["MIDDLEWARE"] = type(names)(middleware if n == DJANGOS else n for n in names)
    return settings


if RUN["module"]:
    module = importlib.import_module(RUN["module"])
    globals().update(
        swapped({name: getattr(module, name) for name in dir(module) if name.isupper()})
    )
