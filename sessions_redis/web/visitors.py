"""Where a request comes from, and with what: the metadata that the session middleware keeps."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from sessions_redis import conf
from sessions_redis.storage.entries import AGENT, IP

# Bytes kept of what a client says of itself: longer values cost a hash its compact form in Redis
# (hash-max-listpack-value), and a client may send kilobytes.
MAX_AGENT = 250

Address = IPv4Address | IPv6Address


class Visitor:
    """
    Calls `metadata_of` for one request, when a session is written.

    A deep copy or a pickle holds the result of that call, and nothing else of the request.
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
    The fields ``@ip`` and ``@agent`` of a request, by its ``META``, as far as known.

    Both are empty, so that no session keeps them, where ``METADATA`` is off.
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
    The address that a request comes from, in its normal form; ``None`` if there is none.

    That is ``REMOTE_ADDR`` unless it is a trusted proxy. Then it is the right-most hop of
    ``X-Forwarded-For`` that is no trusted proxy itself: what stands left of that one the client
    may have written, so it is not believed. A hop that is no address ends the search: the
    request comes from the last proxy that is known.
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


@lru_cache(maxsize=1024)  # most requests come from where others came from
def address_of(text: str) -> Address | None:
    """An address, with or without brackets, port and zone; ``None`` for anything else."""
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
        return conf.UNIX in trusted_proxies
    return any(address in _network(network) for network in trusted_proxies if network != conf.UNIX)


_network = lru_cache(ip_network)


def _printable(agent: str) -> bytes:
    if not agent.isprintable():
        agent = "".join(character for character in agent if character.isprintable())
    # Cut between characters, not within one.
    return agent.strip().encode()[:MAX_AGENT].decode(errors="ignore").encode()
