# The demonstration site in production mode, for compose.yaml. docs/deployment.md describes both.
FROM python:3.13-slim

WORKDIR /site
COPY pyproject.toml README.md LICENSE manage.py ./
COPY sessions_redis sessions_redis
COPY userapi userapi
COPY config config

# In production, the site needs neither the server for development nor the packages for tests.
RUN pip install --no-cache-dir --editable ".[hiredis,devices]" gunicorn

# The files that the proxy in front of the site serves. DEBUG=1, because the secret key of the site
# must not be in the image.
RUN DEBUG=1 python manage.py collectstatic --no-input

# The users are in a volume. The settings expect the database beside manage.py.
RUN useradd --system site && mkdir data && chown site data && ln -s data/db.sqlite3 db.sqlite3
USER site

EXPOSE 8000
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "--workers", "4", "--threads", "8", "--preload", \
     "--worker-tmp-dir", "/dev/shm", "config.wsgi"]
