"""
Binds sessions to where they are used: the setting ``BIND_TO``.

A session is used from a device and a network. The device is the browser and the operating system,
without their versions. The network is a prefix of the address. Both come from the metadata of the
session, and of the request.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from sessions_redis import conf, logs, moving_in, notices, reasons
from sessions_redis.calls import CallTo, StoreSteps
from sessions_redis.keys import Key
from sessions_redis.registry.live_sessions import LiveSession
from sessions_redis.signals import session_moved
from sessions_redis.storage import commands, layouts
from sessions_redis.storage.changes import Known
from sessions_redis.storage.entries import AGENT, IP, Serializer
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.user_agents import browser_and_system

if TYPE_CHECKING:
    from sessions_redis.base import StoreBase

Fields = Mapping[bytes, bytes]

# The bits of an address that stand for its network, in IPv4 and IPv6. Providers often give a whole
# /48 to a customer, whose devices change the rest by themselves.
PREFIXES = {4: 24, 6: 48}

log = logs.named("django.security.SessionMoved")


@lru_cache(maxsize=1024)
def network_of(address: bytes) -> str | None:
    """The network of an address, such as "192.0.2.0/24"; ``None`` if it is not an address."""
    try:
        parsed = ip_address(address.decode())
    except ValueError:
        return None
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(ip_network((parsed, PREFIXES[parsed.version]), strict=False))


@lru_cache(maxsize=1024)
def device_of(agent: bytes) -> str | None:
    """The browser and the system of a user agent, without versions; ``None`` if it is empty."""
    text = agent.decode(errors="replace")
    browser, system = browser_and_system(text)
    # Of a program that is not recognized, the name: "Shop" of "Shop/1.2.3 build 7".
    name = browser or re.split(r"[/\d]", text, maxsplit=1)[0].strip() or text
    return f"{name} on {system or 'unknown'}" if text else None


# What a session can be bound to: the field of metadata that shows it, and what counts of it.
PLACES = {"device": (AGENT, device_of), "network": (IP, network_of)}


def place(name: str, fields: Fields) -> str | None:
    field, counts = PLACES[name]
    return counts(fields[field]) if field in fields else None


def differing(names: Iterable[str], held: Fields, found: Fields) -> list[str]:
    """Of ``names``, those that differ from what the session has. It may have none of them."""
    kept = ((name, place(name, held)) for name in names)
    return [name for name, was in kept if was is not None and was != place(name, found)]


def applies_to(store: "StoreBase") -> bool:
    """Whether ``store`` belongs to a request, and the site binds sessions."""
    return bool(conf.current().bind_to) and store.metadata_source is not dict


def admitted(
    store: "StoreBase", keyspace: Keyspace, key: Key, stored: Fields
) -> StoreSteps[Fields | None]:
    """
    The fields of the session, or ``None`` if the request of ``store`` comes from elsewhere.

    A session that is not bound yet is bound to this request. If two requests do that at once, the
    first one counts.
    """
    names, found = conf.current().bind_to, store.metadata_source()
    missing = {
        field: found[field]
        for field, _ in (PLACES[name] for name in names)
        if field not in stored and found.get(field)
    }
    if missing:
        stored = {**stored, **(yield commands.bind(keyspace, key.id, missing))}
    differs = differing(names, stored, found)
    if not differs:
        return stored
    log.warning(
        "Session %s was refused, because it was used from another %s: %s. It is bound to %s.",
        key.id,
        " and ".join(differs),
        ", ".join(place(name, found) or "unknown" for name in differs),
        ", ".join(place(name, stored) or "unknown" for name in differs),
    )
    if conf.current().bind_to_ends:
        yield from _ended(keyspace, key)
    else:
        store.is_elsewhere = True
    return None


def _ended(keyspace: Keyspace, key: Key) -> StoreSteps[None]:
    user_pk = yield from layouts.end(keyspace, key.id, reasons.MOVED)
    if keyspace.moves_in:
        yield from moving_in.deleted(keyspace, key)
    if user_pk is not None:
        yield from notices.ended(keyspace, key.id, user_pk, reasons.MOVED)


def noticed(
    keyspace: Keyspace, before: Known, after: Known, serializer: Serializer
) -> StoreSteps[None]:
    """
    Send `session_moved` if the session has moved.

    ``before`` and ``after``: what Redis is known to hold, before and after a write.
    """
    if not session_moved.receivers or not session_moved.has_listeners(LiveSession):
        return
    was, found = before.fields, after.fields
    # A save with METADATA off removes what the session had.
    if not any(place(name, found) for name in differing(PLACES, was, found)):
        return
    user = after.user(serializer).decode("utf-8", "backslashreplace")
    yield CallTo(
        session_moved,
        "send_robust",
        sender=LiveSession,
        session_id=after.id,
        user_pk=user or None,
        old_ip=_text(was, IP),
        new_ip=_text(found, IP),
        old_user_agent=_text(was, AGENT),
        new_user_agent=_text(found, AGENT),
        tenant=keyspace.tenant,
    )


def _text(fields: Fields, name: bytes) -> Any:
    return fields[name].decode("utf-8", "backslashreplace") if name in fields else None
