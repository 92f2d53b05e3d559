"""Which names count as secret."""

import re

import pytest

from sessions_redis.masking import names
from sessions_redis.masking.names import Names, words_of

SECRET = """
jwt bearer otp pin credentials card_number cookie session_id password PASSWORD_HASH PassWord
passWord pass_word user-password dbpassword userPassword passwords db_pass pwd passphrase
api_key api-key API.KEY APIKey apiKeys x-api-key accessToken accessToken2 oauth2_token
tokens csrftoken _csrftoken csrfmiddlewaretoken _password_reset_token _auth_user_hash
sessionid sessionKey Session:Id connect.sid PHPSESSID clientSecret secrets private_key
Authorization Proxy-Authorization Set-Cookie creditCard ccNumber CVV pinCode otp_code
2fa_code mot_de_passe Passwort пароль auth csrf key keys nonce token:github
scope:monkey:token scope:monkey:token:github scope:a%3Ab:password type_token
"""

SHOWN = """
author authors authority monkeys monkey keyboard_layout _auth_user_id _auth_user_backend
_session_expiry cart _language csrf_exempt public_key sort_key primary_key cache-key
token_type token_expires_in passwordChangedAt password_changed_at cookie_consent
otp_device_id map compass spinner topping passage passenger bypass passport secretary
tokenizer keywords hotkeys turkey address pinned opinion shipping happiness card cards
number session sessions_count code oauth_state color 1 @ip __ über scope: scope:x
scope:token:sessionStatus scope:password:color scope:monkey:sessionStatus
scope:%3Atoken:color
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_names_of_secrets(name):
    """A secret name is found by its words, with any separator between them."""
    assert Names().is_secret(name)


@pytest.mark.parametrize("name", [*SHOWN.split(), "", " "])
def test_harmless_names(name):
    """
    A name is not secret because of parts of words, words about a secret, or the name of a scope.
    """
    assert not Names().is_secret(name)


@pytest.mark.parametrize(
    "word", sorted(names.SECRET_WORDS | names.SECRET_PHRASES | names.SECRET_ALONE)
)
def test_the_spellings_of_a_name(word):
    """Each name of the lists is found in every spelling, also in the plural."""
    words = word.split()
    camel = words[0] + "".join(map(str.title, words[1:]))
    spellings = {
        "_".join(words),
        "-".join(words),
        "".join(words),
        word.upper(),
        word.title(),
        camel,
    }
    assert all(Names().is_secret(spelling) for spelling in spellings)
    assert word.endswith("s") or Names().is_secret(f"{word}s")


@pytest.mark.parametrize("word", sorted(names.SECRET_WORDS | names.SECRET_PHRASES))
def test_names_with_more_words(word):
    """Other words before and after make no difference, except harmless ones."""
    assert Names().is_secret(f"my {word}")
    assert Names().is_secret(f"my {word} value 2")


@pytest.mark.parametrize("word", sorted(names.HARMLESS_WORDS))
def test_words_that_make_a_name_harmless(word):
    """
    After a secret word, a harmless word says that the value only describes the secret. Before it,
    the word has no effect.
    """
    assert not Names().is_secret(f"token_{word}")
    assert Names().is_secret(f"{word}_token")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("APIKey", ["api", "key"]),
        ("accessToken2", ["access", "token", "2"]),
        ("a_b-c.d:e f", ["a", "b", "c", "d", "e", "f"]),
        ("XMLHttpRequest", ["xml", "http", "request"]),
        ("ÜberKey", ["über", "key"]),
        ("", []),
    ],
)
def test_words(name, words):
    """
    A name is split at characters that are not letters, between letters and digits, and at
    camelCase.
    """
    assert words_of(name) == words


def test_names_that_the_site_adds():
    """
    The words of names that the site adds count anywhere in a name, with any case and separators.
    """
    rule = Names(masked=("iban", "customer number"))
    for name in ("iban", "IBAN", "ibans", "customer_iban", "ibanType", "customerNumber",
                 "old-customer-number", "CUSTOMERNUMBER"):  # fmt: skip
        assert rule.is_secret(name)
    for name in ("urbane", "customer", "number", "customer_phone_number"):
        assert not rule.is_secret(name)


def test_names_that_the_site_exempts():
    """The site exempts whole names, so that "token" does not show every access token."""
    rule = Names(
        masked=("iban",), unmasked=("token", "IBAN", "session_id", "pins", "_auth_user_hash")
    )
    for name in ("token", "Token", "iban", "sessionId", "pin", "_auth_user_hash", "scope:x:token"):
        assert rule.is_unmasked(name)
        assert not rule.is_secret(name)
    for name in ("access_token", "my_iban", "token:github", "pin_code"):
        assert rule.is_secret(name)


def test_names_that_are_written_so():
    """The site's cookie names are secret only in their exact spelling."""
    rule = Names(exact=("visitor",))
    assert rule.is_secret("visitor")
    assert not rule.is_secret("visitors")


def test_the_pattern_of_a_site():
    """
    Of a site's own pattern, only the part counts that Django's does not have. Django's matches
    parts of words.
    """
    django = re.compile("API|AUTH|KEY", re.IGNORECASE)
    rule = Names(own=re.compile("API|AUTH|KEY|IBAN", re.IGNORECASE), django=django)
    assert rule.is_secret("my_iban")
    assert not any(map(rule.is_secret, ("author", "monkeys", "color")))


def test_long_names():
    """The end of a long name decides, and a long name takes no longer to check."""
    assert Names().is_secret("x_" * 1_000_000 + "password")
    assert not Names().is_secret("password" + "_x" * 1_000_000)
