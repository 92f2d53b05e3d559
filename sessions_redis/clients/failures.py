"""Turns an error of redis-py into a `SessionStoreUnavailable`, which says what to do."""

import re
from collections.abc import Callable

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from sessions_redis import clusters, locations, services
from sessions_redis.clients import tls
from sessions_redis.clients.circuit import NoAnswerError
from sessions_redis.clients.credentials import CredentialsError
from sessions_redis.clients.garbage import BY_HELLO, CLOSED, SIGNING_IN, GarbageError
from sessions_redis.clients.leases import NOT_SENT, NoFreeConnectionError
from sessions_redis.clients.losses import SurplusError
from sessions_redis.clients.origins import origin_of
from sessions_redis.clients.pools import RETRIED
from sessions_redis.clients.sentinels import NoMasterError
from sessions_redis.clients.topologies import NotInClusterError
from sessions_redis.conf import Conf, is_testing
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.hosts import shown

# The server answers with these if it does not run a command. In redis-py, some of them are
# subclasses of ConnectionError.
REFUSALS = (ResponseError, AuthenticationError, AuthorizationError, BusyLoadingError)

# The options that give redis-py a password.
PASSWORD_OPTIONS = {"username", "password", "credential_provider"}

# Tests use other keys than the site, so their Redis user needs more permissions.
_FOR_TESTS = ' For tests, see also "A restricted Redis user" in docs/testing.md.'

# The likely causes if a server does not answer: the one that LOCATION names, or the master that the
# Sentinels name.
_OF_SERVER = 'Is it running, and is SESSION_REDIS["LOCATION"] its address?'
_OF_SERVICE = (
    "The Sentinels say that this is the master. If it is down, the site works again when they have "
    "promoted a replica. If it is running, this machine cannot reach it at that address: set "
    '"replica-announce-ip" in its configuration, and see docs/sentinel.md.'
)

_OF_CLUSTER = (
    "If this node is down, sessions in its slots can be used again when the Cluster has promoted a "
    "replica. If it is running, this machine cannot reach it at that address: set "
    '"cluster-announce-ip" in its configuration, or "address_remap" in SESSION_REDIS["OPTIONS"].'
)

# A command that some servers do not know, and the remedy.
HELLO = (
    "the command HELLO, which redis-py 8 and later send first. To connect without it, set "
    '"protocol": 2 in SESSION_REDIS["OPTIONS"].'
)


def store_unavailable(settings: Conf, error: RedisError) -> SessionStoreUnavailable:
    """
    An error that says what happened, the likely cause and the remedy, without Redis's password.

    Its ``may_have_been_done`` is ``False`` if the command was not sent, or Redis refused it.
    """
    words = tls.explanation(error) if settings.scheme.startswith("rediss") else None
    words = words or next(words for fits, words in _EXPLANATIONS if fits(error))
    what, is_cluster = str(error).rstrip(".?"), clusters.is_cluster(settings.location)
    said = words.format(
        what=what,
        prefix=settings.shown_prefix,
        credentials=_advice_on_credentials(settings, error),
        for_tests=_FOR_TESTS if is_testing() else "",
        remedy=getattr(error, "remedy", ""),
        running=_where_to_look(settings.location),
        redirected=(_IN_CIRCLE if is_cluster else _NO_CLUSTER).format(what=what),
        page="docs/cluster.md" if is_cluster else "docs/redis.md",
    )
    failed = SessionStoreUnavailable(f"{_node(error)}Redis at {settings.shown_location} {said}")
    failed.may_have_been_done = not (_was_not_sent(error) or isinstance(error, REFUSALS))
    return failed


def _node(error: RedisError) -> str:
    node = origin_of(error).node
    # The Cluster is down, or a slot of it, and not the node that says so.
    return "" if node is None or isinstance(error, ClusterDownError) else f"Node {shown(node)} of "


def _where_to_look(location: str) -> str:
    if clusters.is_cluster(location):
        return _OF_CLUSTER
    return _OF_SERVICE if services.is_service(location) else _OF_SERVER


def _was_not_sent(error: RedisError) -> bool:
    return NOT_SENT in getattr(error, "__notes__", ())


def _advice_on_credentials(settings: Conf, error: RedisError) -> str:
    in_location = locations.has_credentials(settings.location)
    in_options = PASSWORD_OPTIONS & (settings.options or {}).keys()
    if "Authentication required" in str(error) and (in_location or in_options):
        return f"This site sent a password, so the server may not know {HELLO}"
    if "credential_provider" in in_options:
        return (
            'Does the "credential_provider" in SESSION_REDIS["OPTIONS"] return a user and a token '
            "that the server accepts now?"
        )
    if in_location:
        return f'Are user and password in SESSION_REDIS["LOCATION"] right? {locations.ENCODE}'
    return 'Are user and password right? Write them into SESSION_REDIS["OPTIONS"].'


def _while_signing_in(error: RedisError, *words: str) -> bool:
    """Whether ``error`` contains one of ``words`` and happened before the first command."""
    is_early = SIGNING_IN in getattr(error, "__notes__", ())
    return is_early and bool(re.search("|".join(words), str(error), re.IGNORECASE))


def is_refusal_of_command(error: BaseException | None) -> bool:
    """Whether this user may not run a command, or the server does not know it."""
    return isinstance(error, NoPermissionError) or (
        isinstance(error, ResponseError) and "unknown command" in str(error).lower()
    )


def is_refusal_of_scripts(error: BaseException | None) -> bool:
    """Whether the server refused to run a script: it does not know EVAL, or forbids it."""
    return (
        isinstance(error, ResponseError)
        and not isinstance(error, NoScriptError)  # its text mentions EVAL
        and bool(re.search(r"\beval(sha)?\b", str(error), re.IGNORECASE))
    )


_NO_CLUSTER = (
    "is a node of a Redis Cluster: {what}. Write redis+cluster:// in place of redis:// in "
    'SESSION_REDIS["LOCATION"], without the number of a database.'
)
_IN_CIRCLE = (
    "did not run a command: {what}. The nodes do not agree which of them has its slot. If that "
    "lasts, run redis-cli --cluster check on one of them."
)
_CLOSED = (
    "does not answer: {what} while redis-py signed in. If it accepts only TLS, write rediss:// in "
    'LOCATION. If it has too many connections, raise its "maxclients".'
)
_PERMISSIONS = (
    'Allow that user the commands and the keys that {page} names under "A restricted user".'
)
_WHY_SCRIPTS = (
    "This engine needs the commands EVAL and EVALSHA: only a Lua script can check a session and "
    "change it in one step."
)

# Pairs of a condition and a message. The message of the first condition that is true is used.
_EXPLANATIONS: tuple[tuple[Callable[[RedisError], bool], str], ...] = (
    (
        lambda error: isinstance(error, NoMasterError),
        "has no master that can be used: {what}. {remedy}",
    ),
    (
        lambda error: isinstance(error, NotInClusterError) or "cluster support" in str(error),
        "is not a Redis Cluster: {what}. For one server, write redis:// (or rediss://) in "
        'SESSION_REDIS["LOCATION"].',
    ),
    (
        lambda error: isinstance(error, ClusterDownError),
        "does not serve all sessions: {what}. It does again when the Cluster has promoted a "
        "replica. If that does not happen, run redis-cli --cluster check on one of its nodes.",
    ),
    (lambda error: isinstance(error, MovedError), "{redirected}"),
    (
        lambda error: isinstance(error, CredentialsError),
        "was not asked, because this site has no token to sign in with: {what}. To see that error, "
        "call get_credentials() in manage.py shell. This message leaves its text out, because it "
        "may contain a token.",
    ),
    (
        lambda error: isinstance(error, AuthenticationError),
        "does not let this site in: {what}. {credentials}",
    ),
    (
        lambda error: is_refusal_of_scripts(error) and isinstance(error, NoPermissionError),
        f"refused a command: {{what}}. {_WHY_SCRIPTS} {_PERMISSIONS}{{for_tests}}",
    ),
    (
        is_refusal_of_scripts,
        f"does not run Lua scripts: {{what}}. {_WHY_SCRIPTS} If the server's configuration renames "
        "these commands, take that out. If the server has no Lua scripts, use Redis or Valkey.",
    ),
    (
        lambda error: isinstance(error, NoPermissionError),
        f"refused a command: {{what}}. {_PERMISSIONS}{{for_tests}}",
    ),
    (
        lambda error: _while_signing_in(error, "HELLO", "NOPROTO"),
        f"refused {HELLO} (It said: {{what}}.)",
    ),
    (
        lambda error: _while_signing_in(error, *CLOSED) and BY_HELLO in error.__notes__,
        f"{_CLOSED} If it is a proxy, it may not know {HELLO}",
    ),
    (lambda error: _while_signing_in(error, *CLOSED), _CLOSED),
    (
        lambda error: _while_signing_in(error, "DB index", "SELECT"),
        "refused the database that LOCATION names: {what}. Some servers have only database 0: end "
        'SESSION_REDIS["LOCATION"] in /0, or raise "databases" in the server\'s configuration.',
    ),
    (
        lambda error: "max number of clients" in str(error),
        'has no free connection for this process: {what}. Raise "maxclients" in the server\'s '
        'configuration, or lower "max_connections" in SESSION_REDIS["OPTIONS"] of its clients.',
    ),
    (
        lambda error: _while_signing_in(error, "CLIENT", "SETNAME"),
        'refused the client\'s name: {what}. Leave "client_name" out of SESSION_REDIS["LOCATION"] '
        'and "OPTIONS".',
    ),
    (
        lambda error: isinstance(error, NoFreeConnectionError),
        "was not asked: all connections of this process are in use. "
        'Raise "max_connections" in SESSION_REDIS["OPTIONS"], or "timeout", the seconds that a '
        "command waits for a connection.",
    ),
    (
        lambda error: isinstance(error, NoAnswerError) and _was_not_sent(error),
        "does not answer: {what}. So this command was not sent. This process asks Redis several "
        "times a second whether it answers again. Is it running, and is "
        'SESSION_REDIS["LOCATION"] its address?',
    ),
    (
        lambda error: isinstance(error, SurplusError),
        "answered, but {what}, so all replies were discarded. Redis may have run the command. Does "
        "a proxy between this site and Redis send replies twice?",
    ),
    (
        lambda error: (
            isinstance(error, GarbageError) or isinstance(error.__cause__, InvalidResponse)
        ),
        "sent something that is not a reply to the command: {what}. Another program answers at "
        "this address, or a proxy changes the replies of Redis. Is "
        'SESSION_REDIS["LOCATION"] the address of a Redis server?',
    ),
    (
        lambda error: isinstance(error, RETRIED),
        "does not answer: {what}. {running}",
    ),
    (
        lambda error: "WRONGTYPE" in str(error),
        "has a key that should be an index of sessions, but has another type: {what}. Check these "
        "keys with the command TYPE: {prefix}:index, …:index:signed-in, …:index:anonymous and "
        "…:user:<pk>. Delete the one that is not a zset.",
    ),
    (lambda error: True, "refused a command: {what}."),  # noqa: ARG005
)
