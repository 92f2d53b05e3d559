"""
Signals that the sites of this package can receive, in the process that causes them.

The sender of both is `sessions_redis.registry.LiveSession`. If a receiver raises an exception, it
is logged. The other receivers and the request go on. Arguments of both:

- ``session_id``: the digest of the session key;
- ``user_pk``: the user's primary key as text, or ``None``;
- ``tenant``: the tenant's key prefix, or ``None`` if ``KEY_PREFIX`` is not a function.
"""

from django.dispatch import Signal

# Sent when a session was created in Redis. A session that gets a new key, as at sign-in, goes on:
# it is not sent then, and not for a session that moves in from FORMER_ENGINE under its own key.
session_created = Signal()

# Sent once for each session that was ended, by the registry, by the session's own delete() or
# flush(), or by BIND_TO. Its further argument ``reason`` is one of `sessions_redis.reasons`, or
# what the caller of the registry gave. It is not sent when a session expires, nor if the reply
# from Redis was lost.
session_ended = Signal()

# Sent when a session was used from another network or device than before: another /24 of IPv4 or
# /48 of IPv6, another browser or operating system. It is sent after the save or the note that
# stores the new address or user agent, in the process that does so, and needs
# sessions_redis.middleware. Arguments: session_id, user_pk and tenant as above; old_ip and new_ip;
# old_user_agent and new_user_agent. One of them is None if it is not known. The sender is
# sessions_redis.registry.LiveSession, and exceptions of receivers are logged.
session_moved = Signal()
