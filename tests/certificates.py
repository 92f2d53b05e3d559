"""Certificates for servers with TLS: a private authority, and what it issued."""

from dataclasses import dataclass
from pathlib import Path

import trustme

# The names under which tests reach servers on this machine.
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Issued:
    """The files of a certificate and of its private key."""

    certificate: str
    key: str


class Certificates:
    """
    A private authority with a certificate for a server on this machine and one for its clients.

    ``authority``: the file with the authority's own certificate, which clients and servers trust.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA()
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(path)
        self.authority = str(path)
        self.server = self.issue("server", *LOOPBACK)
        self.client = self.issue("client", "client.example")

    def issue(self, name: str, *identities: str) -> Issued:
        """A certificate for these host names or addresses, in files with this ``name``."""
        issued = self._authority.issue_cert(*identities, common_name=identities[0])
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        issued.private_key_pem.write_to_path(key)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(certificate, append=True)
        return Issued(str(certificate), str(key))

    def server_arguments(self, port: int, *, clients: str = "yes") -> list[str]:
        """
        Arguments of a Redis server that listens with TLS at ``port``.

        ``clients``: whether clients need a certificate: ``yes``, ``no`` or ``optional``. The server
        shows its own certificate where it is a client itself, of its master or as a Sentinel.
        """
        return [
            *("--tls-port", str(port), "--tls-auth-clients", clients),
            *("--tls-ca-cert-file", self.authority),
            *("--tls-cert-file", self.server.certificate, "--tls-key-file", self.server.key),
        ]

    def client_options(self, *, shows_certificate: bool = True) -> dict[str, str]:
        """The options of redis-py that trust the authority and show the client's certificate."""
        own = {"ssl_certfile": self.client.certificate, "ssl_keyfile": self.client.key}
        return {"ssl_ca_certs": self.authority, **(own if shows_certificate else {})}
