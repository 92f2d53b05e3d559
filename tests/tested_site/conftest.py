from sessions_redis.test import fresh_sessions

__all__ = ["fresh_sessions"]
