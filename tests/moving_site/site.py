"""
The site: ``python -m tests.moving_site.site PORT``.

Its views answer in JSON, and say which user is signed in.
"""

import os
import sys

from django.http import JsonResponse
from django.urls import path


def write(request, name, number):
    """Write an entry, and answer what it was before."""
    before = request.session.get(name, 0)
    request.session[name] = number
    return JsonResponse({"user": request.user.pk, "before": before})


def read(request, name):
    return JsonResponse({"user": request.user.pk, "before": request.session.get(name, 0)})


urlpatterns = [path("write/<name>/<int:number>", write), path("read/<name>", read)]


def main():
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.moving_site.settings"
    from django.core.servers import basehttp
    from django.core.wsgi import get_wsgi_application

    basehttp.WSGIRequestHandler.log_message = lambda *_: None
    basehttp.run("127.0.0.1", int(sys.argv[1]), get_wsgi_application(), threading=True)


if __name__ == "__main__":
    main()
