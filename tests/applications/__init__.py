"""
Runs the test suites of other people's applications, such as django-allauth, on this engine.

``make sites`` runs it. It is not a part of ``make test``. docs/applications.md explains it.
"""
