"""The certificates of the tests: a server with TLS lets in only the clients that it should."""

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.certificates import Certificates
from tests.servers import Server, free_port, required


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def port_of(certificates, folder, **options):
    port = free_port()
    arguments = certificates.server_arguments(port, **options)
    return port, Server(folder, *arguments, binary=required("redis-server"))


def pings(port, **options):
    with redis.Redis(port=port, ssl=True, retry=Retry(NoBackoff(), 0), **options) as client:
        return client.ping()


def test_server_asks_for_client_certificate(certificates, tmp_path):
    """A client with the authority's certificate gets in, and one without any does not."""
    port, server = port_of(certificates, tmp_path)
    try:
        assert pings(port, **certificates.client_options())
        with pytest.raises(redis.ConnectionError):
            pings(port, **certificates.client_options(shows_certificate=False))
    finally:
        server.stop()


def test_server_without_client_certificates(certificates, tmp_path):
    """A client that does not trust the authority refuses the server."""
    port, server = port_of(certificates, tmp_path, clients="no")
    try:
        assert pings(port, **certificates.client_options(shows_certificate=False))
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            pings(port)
    finally:
        server.stop()
