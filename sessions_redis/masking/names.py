"""
Decides by the name of a value whether it is a secret.

It compares whole words, and ends of words without separators, such as "csrfmiddlewaretoken".
``docs/masking.md`` has the same lists. A test compares them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

# A name that contains one of these words is secret. They are in the singular.
SECRET_WORDS = frozenset(
    {
        "apikey", "authorization", "bearer", "ccv", "cookie", "cred", "credential", "csc", "cvc",
        "cvn", "cvv", "dbpass", "hmac", "hotp", "jwe", "jws", "jwt", "mfa", "mnemonic", "nonce",
        "otp", "pass", "passcode", "passphrase", "passwd", "password", "pin", "pincode", "puk",
        "pw", "pwd", "salt", "secret", "sid", "sig",
        "signature", "ssn", "token", "totp", "contraseña", "contrasena", "kennwort", "passwort",
        "senha", "wachtwoord", "пароль",
    }
)  # fmt: skip

# These words are secret only together, in this order. A name may also join them to one word.
SECRET_PHRASES = frozenset(
    {
        "access code", "access key", "account key", "account number", "activation code",
        "api key", "app key", "application key", "auth code", "auth key", "auth user hash",
        "authentication code", "backup code", "card code", "card no", "card number", "cc number",
        "client key", "code verifier", "connection string", "consumer key", "credit card",
        "debit card", "decryption key", "deploy key", "encryption key", "fernet key", "hmac key",
        "license key", "login code", "magic link", "master key", "mfa code", "mot de passe",
        "one time code", "private key", "recovery code", "recovery key", "recovery phrase",
        "reset code", "saml assertion", "saml response", "security code", "security key",
        "seed phrase", "session id", "session key", "shared key", "signing key", "sms code",
        "ssh key", "verification code", "webhook key", "2 fa code",
    }
)  # fmt: skip

# These are secret only if they are the whole name: "key", but not "sort_key".
SECRET_ALONE = frozenset({"auth", "csrf", "key", "xsrf"})

# These are secret at the end of a word without separators, such as "csrfmiddlewaretoken".
SECRET_ENDINGS = (
    "apikey", "accesskey", "credential", "passphrase", "passwd", "password", "privatekey",
    "secret", "secretkey", "sessid", "sessionid", "sessionkey", "token",
)  # fmt: skip

# After a secret word, these say that the value only describes the secret, as in "token_type".
HARMLESS_WORDS = frozenset(
    {
        "accepted", "age", "attempt", "banner", "changed", "consent", "count", "created", "date",
        "device", "enabled", "expiration", "expired", "expires", "expiry", "format", "length",
        "lifetime", "limit", "method", "name", "notice", "policy", "preference", "rate", "required",
        "retries", "scope", "status", "strength", "time", "timeout", "ttl", "type", "updated",
        "used", "valid", "verified",
    }
)  # fmt: skip

# Names of Django's own entries that are not secret, even if their values look so.
UNMASKED_NAMES = ("_auth_user_id", "_auth_user_backend", "_session_expiry")

# The most words in a phrase.
_MAX_WORDS = max(phrase.count(" ") + 1 for phrase in SECRET_PHRASES)

_JOINED = SECRET_WORDS | {phrase.replace(" ", "") for phrase in SECRET_PHRASES}

# Splits "APIKey" into "API" and "Key". Letters beyond ASCII count as lower case.
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")

_PLACEHOLDER = re.compile(r"\[hidden: [^\]]*+\]")

# Of a longer name, only so many characters at its end are judged. The end says what is named.
_MAX_CHARACTERS = 200


def words_of(name: str) -> list[str]:
    """The words of ``name`` in lower case, split at camelCase and at other characters."""
    return [word.lower() for word in _WORD.findall(name)]


def key_of(field: str) -> str:
    """
    The part of an entry's name that says what the entry contains.

    In ``scope:<name>:<key>``, this is the key. The scope's name, such as that of a user called
    "monkey", says nothing about the entry.
    """
    return field.split(":", 2)[-1] if field.startswith("scope:") else field


@dataclass(frozen=True, eq=False)
class Names:
    """
    The rule that decides which names are secret.

    ``masked``: more words that make a name secret. ``unmasked``: whole names that are not secret.
    ``exact``: names that are secret if spelled exactly so. ``own``: the site's own pattern for
    secret settings. ``django``: Django's pattern. A name that matches ``own`` but not ``django`` is
    secret.
    """

    masked: tuple[str, ...] = ()
    unmasked: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    own: re.Pattern[str] | None = None
    django: re.Pattern[str] | None = None

    def is_secret(self, name: str) -> bool:
        return _judge(self, _judged_part(name)) == "secret"

    def is_unmasked(self, name: str) -> bool:
        """Whether a setting says that values of this name are not secret, even if they look so."""
        return _judge(self, _judged_part(name)) == "unmasked"

    @cached_property
    def _masked_phrases(self) -> frozenset[str]:
        return frozenset(_singular("".join(words_of(name))) for name in self.masked)

    @cached_property
    def _unmasked_names(self) -> frozenset[str]:
        return frozenset(
            _singular("".join(words_of(name))) for name in (*UNMASKED_NAMES, *self.unmasked)
        )

    @cached_property
    def _max_words(self) -> int:
        return max([_MAX_WORDS, *(len(words_of(name)) for name in self.masked)])

    def _judgment(self, name: str) -> str:
        words = words_of(name)
        whole = _singular("".join(words))
        if whole in self._unmasked_names:
            return "unmasked"
        if name in self.exact or whole in SECRET_ALONE or self._matches_own_pattern(name):
            return "secret"
        phrases = list(self._phrases(words))
        if any(phrase in self._masked_phrases for _, phrase in phrases):
            return "secret"
        ends = [stop for stop, phrase in phrases if phrase in _SECRETS]
        ends += [
            place + 1
            for place, word in enumerate(words)
            if _ends_with_a_secret_word(_singular(word))
        ]
        if not ends:
            return ""
        is_about_it = any(_singular(word) in _HARMLESS for word in words[max(ends) :])
        return "" if is_about_it else "secret"

    def _phrases(self, words: list[str]) -> Iterator[tuple[int, str]]:
        """The end and the joined text of each sequence of words that can be a phrase."""
        for stop in range(1, len(words) + 1):
            for start in range(max(0, stop - self._max_words), stop):
                yield stop, _singular("".join(words[start:stop]))

    def _matches_own_pattern(self, name: str) -> bool:
        if self.own is None or not self.own.search(name):
            return False
        return self.django is None or not self.django.search(name)


def _judged_part(name: str) -> str:
    """
    The part of ``name`` by which it is judged.

    It excludes placeholders of hidden parts: their words, such as "card number", are not a name.
    """
    return _PLACEHOLDER.sub("", key_of(name)[-_MAX_CHARACTERS:])


def _singular(word: str) -> str:
    return word if word.endswith("ss") else word.removesuffix("s")


_SECRETS = frozenset(map(_singular, _JOINED))
_HARMLESS = frozenset(map(_singular, HARMLESS_WORDS))


def _ends_with_a_secret_word(word: str) -> bool:
    return word.endswith(SECRET_ENDINGS) or "password" in word


@lru_cache(maxsize=4096)
def _judge(names: Names, name: str) -> str:
    return names._judgment(name)
