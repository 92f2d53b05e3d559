"""What can go wrong with TLS, and what to do about it."""

import re
import ssl
from collections.abc import Mapping
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.garbage import CLOSED, SIGNING_IN

# Pairs of words in the error of redis-py, which contains that of OpenSSL, and the message. The
# message of the first words that are found is used.
_EXPLANATIONS = {
    "CERTIFICATE_VERIFY_FAILED.*(self.signed|unable to get (local )?issuer)": (
        "shows a certificate that this site does not trust: {what}. If an authority of your own "
        'signed it, name the file with that authority\'s certificate: "ssl_ca_certs": '
        '"/path/to/ca.pem" in SESSION_REDIS["OPTIONS"]. If your host\'s certificates are '
        'self-signed, set "ssl_cert_reqs": "none". The connection is then encrypted, but nothing '
        "shows which server answers."
    ),
    "CERTIFICATE_VERIFY_FAILED.*(not valid for|mismatch)": (
        "shows a certificate for another name: {what}. Write the host in LOCATION as it is written "
        "in the certificate, or give the server a certificate for this name."
    ),
    "CERTIFICATE_VERIFY_FAILED.*(expired|not yet valid)": (
        "shows a certificate that is not valid now: {what}. Renew the certificate of the server. "
        "Is the clock of this machine right?"
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "shows a certificate that this site does not accept: {what}. Check the certificate of the "
        'server, and "ssl_ca_certs" in SESSION_REDIS["OPTIONS"].'
    ),
    "No such file|Permission denied|Is a directory|X509|PEM|KEY_VALUES": (
        "was not asked, because a file for TLS cannot be used: {what}. Check the options "
        '"ssl_ca_certs", "ssl_certfile" and "ssl_keyfile". The files must exist, be readable and '
        "in PEM format, and the key must belong to the certificate."
    ),
    "Timeout connecting|WRONG_VERSION_NUMBER|record layer failure": (
        "does not answer over TLS: {what}. Is it running, and does it offer TLS at this port? If "
        "it does not, write redis:// in LOCATION."
    ),
}
_OF_CLIENT = (
    "does not let this site connect over TLS: {what}. If the server requires certificates of its "
    'clients, set "ssl_certfile" and "ssl_keyfile" in SESSION_REDIS["OPTIONS"]. The certificate '
    "must not have expired, and must come from an authority that the server trusts."
)


def explanation(error: RedisError) -> str | None:
    """
    The words for ``error``, which a connection with TLS met. ``None`` if TLS is not its cause.
    """
    if not isinstance(error, RedisConnectionError | RedisTimeoutError):
        return None
    said = str(error)
    if re.search("alert", said, re.IGNORECASE) or _is_closed_early(error, said):
        return _OF_CLIENT
    return next((words for found, words in _EXPLANATIONS.items() if re.search(found, said)), None)


def _is_closed_early(error: RedisError, said: str) -> bool:
    # With TLS 1.3, the server refuses a client after the handshake, when redis-py signs in.
    return SIGNING_IN in getattr(error, "__notes__", ()) and bool(
        re.search("|".join(CLOSED), said, re.IGNORECASE)
    )


def problem_with_files(options: Mapping[str, Any]) -> str | None:
    """The mistake in the files that ``options`` for redis-py name, as text."""
    context = ssl.create_default_context()
    authority = options.get("ssl_ca_certs")
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    try:
        if authority:
            context.load_verify_locations(authority)
    except OSError as error:
        return f'"ssl_ca_certs" cannot be used: {error}'
    try:
        if certificate:
            # Without a password, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(certificate, key, options.get("ssl_password") or "")
    except OSError as error:
        return f'"ssl_certfile" and "ssl_keyfile" cannot be used: {error}'
    return None
