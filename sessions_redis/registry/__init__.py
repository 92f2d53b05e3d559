"""
Sessions as a list: count, list, find and end them. Each function has an ``a…`` twin.

The registry reads the indexes and checks each session before it returns it, because an index can
list a session shortly after it expired. A page takes two round trips, however many sessions there
are. If some of its members are dead, the registry removes them and reads the page again, at most
twice. This usually takes three round trips more. In a Cluster, it takes one more.
Nothing here needs the session keys, and nothing reveals them.

A command that ends sessions is sent once. If its reply is lost, the function raises
`SessionStoreUnavailable`: the sessions may have ended, and no signal is sent for them. Many
sessions end in steps of at most a thousand keys, so that other visitors never wait long. The
signals of a step are sent before the next step begins. If Redis fails then, the error's ``ended``
holds the ids of the sessions that earlier steps ended.

Functions that need the indexes raise ``ImproperlyConfigured`` if ``INDEX`` is off. All functions
raise `SessionStoreUnavailable` if Redis is away.
"""

from sessions_redis.registry.ending import (
    aend,
    aend_all,
    aend_all_of,
    aend_each,
    aend_each_of,
    aend_many,
    end,
    end_all,
    end_all_of,
    end_each,
    end_each_of,
    end_many,
)
from sessions_redis.registry.events import EndedSession, MayHaveMissed, aended, ended
from sessions_redis.registry.finding import (
    Started,
    afind,
    afind_many,
    astarting_with,
    find,
    find_many,
    starting_with,
)
from sessions_redis.registry.listing import (
    aby_time_left,
    acount,
    alatest,
    aof_user,
    atrim,
    by_time_left,
    count,
    latest,
    of_user,
    trim,
)
from sessions_redis.registry.live_sessions import LiveSession, user_pk_of
from sessions_redis.registry.selections import ALL, Selection
from sessions_redis.storage.listings import is_id, is_short_start, is_start

__all__ = [
    "ALL",
    "EndedSession",
    "LiveSession",
    "MayHaveMissed",
    "Selection",
    "Started",
    "aby_time_left",
    "acount",
    "aend",
    "aend_all",
    "aend_all_of",
    "aend_each",
    "aend_each_of",
    "aend_many",
    "aended",
    "afind",
    "afind_many",
    "alatest",
    "aof_user",
    "astarting_with",
    "atrim",
    "by_time_left",
    "count",
    "end",
    "end_all",
    "end_all_of",
    "end_each",
    "end_each_of",
    "end_many",
    "ended",
    "find",
    "find_many",
    "is_id",
    "is_short_start",
    "is_start",
    "latest",
    "of_user",
    "starting_with",
    "trim",
    "user_pk_of",
]
