"""Finds the IP address and user agent of a request. The middleware saves them with the session."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from sessions_redis import conf
from sessions_redis.problems import UNIX
from sessions_redis.storage.entries import AGENT, IP

# How many bytes of a user agent to keep. A client may send kilobytes, and a hash with longer values
# can take more memory (Redis setting hash-max-listpack-value).
MAX_AGENT = 250

Address = IPv4Address | IPv6Address


class Visitor:
    """
    Returns the metadata of one request when it is called, which happens when a session is written.

    Copying or pickling a visitor keeps the metadata, and not the rest of the request.
    """

    __slots__ = ("_meta",)

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self._meta = meta

    def __call__(self) -> dict[bytes, bytes]:
        return metadata_of(self._meta)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (dict, self())


def metadata_of(meta: Mapping[str, Any]) -> dict[bytes, bytes]:
    """
    Return the metadata fields ``@ip`` and ``@agent`` from the ``META`` of a request.

    A field is missing if the request does not have it. With ``METADATA: False`` both are empty,
    which makes a save remove them from the session.
    """
    settings = conf.current()
    if not settings.metadata:
        return {IP: b"", AGENT: b""}
    metadata = {}
    ip = client_ip(meta, settings.trusted_proxies)
    if ip is not None:
        metadata[IP] = ip.encode()
    agent = _printable(str(meta.get("HTTP_USER_AGENT", "")))
    if agent:
        metadata[AGENT] = agent
    return metadata


def client_ip(meta: Mapping[str, Any], trusted_proxies: Sequence[str] = ()) -> str | None:
    """
    Return the IP address that a request comes from, in its normal form, or ``None``.

    That is ``REMOTE_ADDR``, unless that is a trusted proxy. Behind a trusted proxy, it is the
    right-most address in ``X-Forwarded-For`` that is not a trusted proxy. The client may have
    forged the addresses to the left of it. If a part of the header is not an address, the result
    is the last proxy before it.
    """
    known = address_of(str(meta.get("REMOTE_ADDR", "")))
    if not _is_trusted(known, trusted_proxies):
        return str(known) if known else None
    for hop in reversed(str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
        address = address_of(hop)
        if address is None:
            break
        known = address
        if not _is_trusted(address, trusted_proxies):
            break
    return str(known) if known else None


@lru_cache(maxsize=1024)  # many requests come from the same addresses
def address_of(text: str) -> Address | None:
    """Parse an address with or without brackets, port and zone; ``None`` if it is not one."""
    text = text.strip()
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not port.removeprefix(":").isdecimal():
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address | None, trusted_proxies: Sequence[str]) -> bool:
    if address is None:
        return UNIX in trusted_proxies
    return any(address in _network(network) for network in trusted_proxies if network != UNIX)


_network = lru_cache(ip_network)


def _printable(agent: str) -> bytes:
    if not agent.isprintable():
        agent = "".join(character for character in agent if character.isprintable())
    # Never cut within a character.
    return agent.strip().encode()[:MAX_AGENT].decode(errors="ignore").encode()
