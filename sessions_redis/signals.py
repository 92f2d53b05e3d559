"""What other apps may want to know."""

from django.dispatch import Signal

# A session was ended through the registry, not by its own visitor's logout. Sent once for each,
# with session_id: its digest; user_pk: whose it was, in text, or None; reason: what the caller of
# the registry gave, "ended" by default. The sender is sessions_redis.registry.LiveSession.
# A receiver that raises is logged and keeps no other from hearing of it.
session_ended = Signal()
