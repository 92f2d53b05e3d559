"""Signals that the sites of this package can receive."""

from django.dispatch import Signal

# Sent once for each session that the registry ends. A visitor's own logout does not send it.
# Arguments: session_id, the digest of the session key; user_pk, the user's primary key as text, or
# None; reason, which the caller of the registry gave, "ended" by default; tenant, the tenant's key
# prefix, or None if KEY_PREFIX is not a function. The sender is
# sessions_redis.registry.LiveSession. If a receiver raises an exception, it is logged, and the
# other receivers still run.
session_ended = Signal()
