"""
The site's credential provider, and tokens that expire.

redis-py asks the option ``credential_provider`` for user and token whenever it signs in on a new
connection. A provider that streams also announces each new token. redis-py hands that on only to
connections of its own clients, which the engine does not use. So a connection that signed in with
an older token is connected again before its next use.
"""

from collections.abc import Generator
from typing import Any

from django.core.signals import setting_changed
from redis.credentials import CredentialProvider, StreamingCredentialProvider
from redis.exceptions import RedisError

from sessions_redis import logs

log = logs.named("sessions_redis")


class CredentialsError(RedisError):
    """The site's credential provider raised an error, so there is no token to sign in with."""


class _Nothing:
    """What a callback returns, to be awaited or not: providers call it from both worlds."""

    def __await__(self) -> Generator[None]:
        yield from ()


class SiteCredentials(CredentialProvider):
    """
    Passes on what the site's ``provider`` returns, and turns its errors into `CredentialsError`.

    ``issued``: how many tokens the provider has announced since the process began to listen.
    """

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.issued = 0

    def get_credentials(self) -> Any:
        try:
            return _checked(self.provider.get_credentials())
        except Exception as error:  # noqa: BLE001 - the site's code can raise any error
            failed = self._failed(error)
        # Raised here, so that it has no context: the provider's error may contain the token.
        raise failed

    async def get_credentials_async(self) -> Any:
        try:
            return _checked(await self.provider.get_credentials_async())
        except Exception as error:  # noqa: BLE001 - the site's code can raise any error
            failed = self._failed(error)
        raise failed

    def listen(self) -> None:
        """Let a provider that streams announce each new token here."""
        if isinstance(self.provider, StreamingCredentialProvider):
            self.provider.on_next(self._on_next)
            self.provider.on_error(self._on_error)

    # redis-py declares that these return None. An asynchronous provider awaits what they return.

    def _on_next(self, token: Any) -> Any:  # noqa: ARG002 - redis-py asks for it on connecting
        self.issued += 1
        return _Nothing()

    def _on_error(self, error: Exception) -> Any:
        log.warning("No new token for Redis: %s.", self._failed(error))
        return _Nothing()

    def _failed(self, error: Exception) -> CredentialsError:
        failed = str(error) if isinstance(error, _MisfitError) else f"raised {_name_of(error)}"
        return CredentialsError(f"{_name_of(self.provider)} {failed}")


class _MisfitError(Exception):
    """A provider returned something else than credentials."""


def _checked(credentials: Any) -> Any:
    # redis-py would send the characters of a string one by one.
    if isinstance(credentials, tuple | list) and len(credentials) in (1, 2):
        return credentials
    raise _MisfitError(f"returned {_name_of(credentials)}, not a tuple of user and token")


def _name_of(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}".removeprefix("builtins.")


# By the ID of the site's provider, which it keeps alive. A provider has one callback, which all
# pools of the process share.
_known: dict[int, SiteCredentials] = {}


def credentials_of(provider: Any) -> SiteCredentials:
    """
    The same object for all pools that sign in with the site's ``provider``.

    Raises ``TypeError`` if ``provider`` is not a credential provider.
    """
    if isinstance(provider, type) or not callable(getattr(provider, "get_credentials", None)):
        kind = "a class" if isinstance(provider, type) else _name_of(provider)
        raise TypeError(
            "the option credential_provider takes an object with the method get_credentials(), "
            f"not {kind}"
        )
    known = _known.get(id(provider))
    if known is None:
        known = _known.setdefault(id(provider), SiteCredentials(provider))
        known.listen()  # if several threads come here, all of them register the same object
    return known


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "SESSION_REDIS":
        _known.clear()


setting_changed.connect(_forget)
