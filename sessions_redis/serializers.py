"""
Serializers that a site can name in ``SESSION_SERIALIZER``.

docs/encryption.md explains those that encrypt, docs/sessions.md the other.
"""

from sessions_redis.typed_json import TypedJSONSerializer

__all__ = ["TypedJSONSerializer"]
