"""
Which names look like those of secrets: by whole words, never by parts of a word.

The lists are in ``docs/masking.md`` as well; a test compares them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

# Each is one word of a name, in the singular.
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

# Words that look secret only together, in this order. They may be written as one word, too.
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

# Secret where nothing else is in the name: "key", but not "sort_key".
SECRET_ALONE = frozenset({"auth", "csrf", "key", "xsrf"})

# Secret at the end of a longer word, for names without a separator: "csrfmiddlewaretoken".
SECRET_ENDINGS = (
    "apikey", "accesskey", "credential", "passphrase", "passwd", "password", "privatekey",
    "secret", "secretkey", "sessid", "sessionid", "sessionkey", "token",
)  # fmt: skip

# After a secret word these say that the value is something about the secret: "token_type".
HARMLESS_WORDS = frozenset(
    {
        "accepted", "age", "attempt", "banner", "changed", "consent", "count", "created", "date",
        "device", "enabled", "expiration", "expired", "expires", "expiry", "format", "length",
        "lifetime", "limit", "method", "name", "notice", "policy", "preference", "rate", "required",
        "retries", "scope", "status", "strength", "time", "timeout", "ttl", "type", "updated",
        "used", "valid", "verified",
    }
)  # fmt: skip

# Names of entries of Django's own that are not secret, whatever their values look like.
UNMASKED_NAMES = ("_auth_user_id", "_auth_user_backend", "_session_expiry")

# Words of a phrase, at most.
_MAX_WORDS = max(phrase.count(" ") + 1 for phrase in SECRET_PHRASES)

_JOINED = SECRET_WORDS | {phrase.replace(" ", "") for phrase in SECRET_PHRASES}

# "APIKey" is "API" and "Key"; letters beyond ASCII count as small ones.
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")

_PLACEHOLDER = re.compile(r"\[hidden: [^\]]*+\]")

# Longer names are judged by their end, which says what is named.
_MAX_CHARACTERS = 200


def words_of(name: str) -> list[str]:
    """The words of ``name`` in small letters: split at what is not a letter, and at camelCase."""
    return [word.lower() for word in _WORD.findall(name)]


def key_of(field: str) -> str:
    """
    The part of an entry's name that says what the entry is.

    Of ``scope:<name>:<key>`` the key: what a scope is named after, such as a user called
    "monkey", says nothing of an entry in it.
    """
    return field.split(":", 2)[-1] if field.startswith("scope:") else field


@dataclass(frozen=True, eq=False)
class Names:
    """
    The rule for names.

    ``masked``: more names that are secret, wherever their words are in a name. ``unmasked``: whole
    names that are not. ``exact``: names that are secret as they are written. ``own`` and
    ``django``: what a name must match, and must not, to be secret by the site's own pattern.
    """

    masked: tuple[str, ...] = ()
    unmasked: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    own: re.Pattern[str] | None = None
    django: re.Pattern[str] | None = None

    def is_secret(self, name: str) -> bool:
        return _judge(self, _judged_part(name)) == "secret"

    def is_unmasked(self, name: str) -> bool:
        """Whether the site says that what has this name is no secret, whatever it looks like."""
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
        """Up to so many words in a row as a phrase has, as one, and where they end."""
        for stop in range(1, len(words) + 1):
            for start in range(max(0, stop - self._max_words), stop):
                yield stop, _singular("".join(words[start:stop]))

    def _matches_own_pattern(self, name: str) -> bool:
        if self.own is None or not self.own.search(name):
            return False
        return self.django is None or not self.django.search(name)


def _judged_part(name: str) -> str:
    """Without what stands in it for something hidden: the words "card number" are not a name."""
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
