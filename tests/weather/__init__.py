"""
Bad weather: real sites with real servers, while Redis restarts, hangs, fills up or is attacked.

``make weather`` runs it. It is not a part of ``make test``. docs/weather.md explains it.
"""
