"""Which parts of a text look like secrets."""

import base64
import random
import string
import time
import uuid

import pytest

from sessions_redis.masking.masked import Why
from sessions_redis.masking.names import Names
from sessions_redis.masking.patterns import named_secrets_in, secrets_in

JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0."
    "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
)
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"

# These are put together here, so that no scanner takes them for real secrets.
SECRETS = {
    JWT: Why.JWT,
    "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.": Why.JWT,
    "4111111111111111": Why.CARD,
    "4111 1111 1111 1111": Why.CARD,
    "5500-0000-0000-0004": Why.CARD,
    "3782 822463 10005": Why.CARD,
    "30569309025904": Why.CARD,
    "4222222222222": Why.CARD,
    "2223003122003222": Why.CARD,
    PEM: Why.PRIVATE_KEY,
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP-----": Why.PRIVATE_KEY,
    "ghp_" + "a1B2" * 9: Why.TOKEN,
    "github_pat_" + "a1B2" * 9: Why.TOKEN,
    "glpat-" + "a1B2" * 5: Why.TOKEN,
    "sk_live_" + "a1B2" * 6: Why.TOKEN,
    "rk_test_" + "a1B2" * 6: Why.TOKEN,
    "xoxb-" + "12345-abcde": Why.TOKEN,
    "AKIA" + "IOSFODNN7EXAMPLE": Why.TOKEN,
    "AIza" + "a1B2_" * 7: Why.TOKEN,
    "npm_" + "a1B2" * 9: Why.TOKEN,
    "sk-proj-" + "a1B2" * 9: Why.TOKEN,
    "123456789:AA" + "a1B2-" * 7: Why.TOKEN,
    "pbkdf2_sha256$1000000$salt$" + "a1B2" * 11: Why.TOKEN,
    "$2b$12$" + "a1B2" * 13: Why.TOKEN,
    "$argon2id$v=19$m=102400,t=2,p=8$" + "a1B2$" * 9: Why.TOKEN,
    "9d1c7b3de4d39a5a2f8f3f7a8f6b2f0e": Why.RANDOM,
    "y1nl2k3j4h5g6f7d8s9a0q1w2e3r4t5z": Why.RANDOM,
    "3q2X7vB9tLk4PzR8sWn1Yc": Why.RANDOM,
    "wJalrXU2nFEMI/K7MD9NG/bPxRfiC4Kb8LmQz3Yt": Why.RANDOM,
}  # fmt: skip

HARMLESS = [
    "color",
    "django.contrib.auth.backends.ModelBackend",
    "01234567-89ab-cdef-0123-456789abcdef",
    "1795468703",
    "1795468703123",
    "1795468703123456",
    "20261126T193705Z-20261127T193705Z",
    "2026-11-26T19:37:05.123456+00:00",
    "/srv/www/site/static/images/2026/11/banner1920x1080-final_v2.png",
    "https://www.example.com/shop/category/shoes-and-boots?page=2&sort=price-descending",
    "a-very-long-slug-about-the-10-best-things-to-do-in-2026",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "getUserByIdOrNameAndAgeAndEmailAddress",
    "SOME_VERY_LONG_CONSTANT_NAME_2_FOR_HTTP_3",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "+49 30 1234 5678 90",
    "+4930123456789012",
    "4006381333931",
    "0.4111111111111111",
    "4111 1111 1111 1112",
    "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8",
    "00000000000000000000000000000000",
    "4444444444444444",
    "=" * 80,
    "x" * 600,
    "Basic Multilingual Plane",
    "basic understanding",
    "the bearer certificate of authenticity",
    "data:image/x-icon;base64," + base64.b64encode(random.Random(1).randbytes(200)).decode(),
    base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + random.Random(1).randbytes(200)).decode(),
    "https://user@example.com:8080/@path:1/",
    "The quick brown fox jumps over the lazy dog, and 12 more.",
    "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg.",
    "Portez ce vieux whisky au juge blond qui fume.",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "いろはにほへと ちりぬるを",
    "敏捷的棕色狐狸跳过了懒狗",
    "نص حكيم له سر قاطع وذو شأن عظيم",
]


def hidden(text):
    return [(text[part.start : part.stop], part.why) for part in secrets_in(text)]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets(secret):
    """Each secret is found completely, alone and within a sentence, and with the right reason."""
    for text in (secret, f'Here it is: "{secret}"'):
        assert (secret, SECRETS[secret]) in hidden(text)


def test_a_private_key_that_was_cut_off():
    """A private key that was cut off is hidden to the end of the text."""
    text = "-----BEGIN EC PRIVATE KEY-----\\nMHcCAQ and so on"
    assert hidden(f"Key: {text}") == [(text, Why.PRIVATE_KEY)]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts(text):
    """In these texts, nothing is hidden."""
    assert hidden(text) == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("redis://user:hush@example.com/0", "hush"),
        ("redis://:hush@example.com/0", "hush"),
        ("see https://a:b%20c@example.com and more", "b%20c"),
        ("Bearer hush1234", "hush1234"),
        ("state_google_kq3J9xPz2LmN8vB4tR7yW1cD5f", "kq3J9xPz2LmN8vB4tR7yW1cD5f"),
        ("https://example.com/a/kq3J9xPz2LmN8vB4tR7yW1cD5f=", "kq3J9xPz2LmN8vB4tR7yW1cD5f="),
        ("curl -H 'X: bearer aGVsbG8gd29ybGQ='", "aGVsbG8gd29ybGQ="),
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "QWxhZGRpbjpvcGVuIHNlc2FtZQ"),
    ],
)
def test_parts_of_texts(text, secret):
    """Only the secret is hidden, so that the text around it can be read."""
    assert secret in [found for found, _ in hidden(text)]


ALPHABETS = {
    "session key": (string.ascii_lowercase + string.digits, 32),
    "csrf token": (string.ascii_letters + string.digits, 32),
    "digest": (string.hexdigits[:16], 32),
    "url-safe token": (string.ascii_letters + string.digits + "-_", 43),
    "base64": (string.ascii_letters + string.digits + "+/", 44),
}


@pytest.mark.parametrize("kind", ALPHABETS)
def test_random_text(kind):
    """Of a thousand tokens of each usual kind, at least 98 % are found."""
    alphabet, length = ALPHABETS[kind]
    draw = random.Random(kind)
    tokens = ["".join(draw.choices(alphabet, k=length)) for _ in range(1000)]
    assert sum(bool(hidden(token)) for token in tokens) >= 980


def test_ids():
    """UUIDs and shorter IDs are not hidden, and their digits do not count as card numbers."""
    draw = random.Random("ids")
    uuids = [str(uuid.UUID(bytes=draw.randbytes(16), version=4)) for _ in range(5000)]
    alphabet = string.ascii_letters + string.digits
    short = ["".join(draw.choices(alphabet, k=21)) for _ in range(1000)]
    assert [text for text in [*uuids, *short] if hidden(text)] == []


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("?token=abc&page=2", ["abc"]),
        ("/reset?next=/a?token=abc", ["abc"]),
        ("sessionid=abc; color=red; csrftoken=def", ["abc", "def"]),
        ("Authorization: Digest a b c\r\nHost: x", ["Digest a b c"]),
        ("Cookie: a=b; c=d\nAccept: */*", ["a=b; c=d"]),
        ('{"password": "a \\" b", "color": "red"', ['"a \\" b"']),
        ("{'password': 'hush', 'color': 'red'}", ["'hush'"]),
        ('{"pin": 1234, "color": "red"', ["1234"]),
        ('{"password"=>"hush", :pin => 1234}', ['"hush"', "1234"]),
        ("password := hush", ["hush"]),
        ("{'password': b'hush'}", ["b'hush'"]),
        ('"password", "hush"', ['"hush"']),
        ('broken {\\"token\\": \\"abc\\"}', ['\\"abc\\"}']),
        ('"tokens": ["abc", "def"], "color": 1', ['["abc", "def"], "color": 1']),
        ("password=[hidden: why]&page=2", ["[hidden: why]"]),
        ("password=[hidden: why]hush&page=2", ["[hidden: why]hush"]),
        ("token=", []),
        ("author=ada&monkeys=3", []),
        ("https://example.com/token/", []),
    ],
)
def test_names_in_texts(text, secrets):
    """
    In query strings, cookies, headers and incomplete JSON, values are hidden because of their
    names.
    """
    found = named_secrets_in(text, Names().is_secret)
    assert [text[part.start : part.stop] for part in found] == secrets


# The parts of texts that could make a pattern slow, in many repetitions.
HOSTILE = [
    "\\", '"', "'", '\\"', "\\'", '\\\\\\"', "=", ":", ":=", ", ", " ", "\t", "\n", "\r\n", "1",
    "1 ", "1234-", "0000 ", "-", "_", "a", "A", "Aa", "aB3", "aB3/", "a/", "a_", "a-", "a.",
    "a.a.a.", "a b ", "AB2", "=a", "{", "}", "[", "]", "{'", '["', '{"a":', "pass", "pass=",
    "token: ", "token:", '"token":', "'pin' ", "token[", "[hidden: ", "[hidden: x]", "eyJ",
    "eyJaaaa.", "-eyJaaaa", "://", "://a:", "://a:b@", "a:a", "SG.", "SG.aaaaaaaaaaaaaaaa", "sk-",
    "ghp_", "github_pat_", "$2b$", "argon2$", "pbkdf2_a", "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----", "-----END ", "Bearer ", "Basic\t", "%3D", "%2", "pin%3D",
    "#!@$a1", "data:image/png;base64,", "01234567-89ab-cdef-0123-456789abcdef", "01234567-", "é",
    "\ud800", "01234567-89ab-cdef-0123-456789abcdef 4111111111111111 ", "4111 1111 1111 1111 ",
]  # fmt: skip
BEGINNINGS = ["", "pass=", "token: ", '"token": "']


def cpu_time(text):
    started = time.process_time()
    list(secrets_in(text))
    list(named_secrets_in(text, Names().is_secret))
    return time.process_time() - started


def takes_as_long_as_it_is_long(short, long):
    """
    Whether checking ``long``, four times ``short``, takes about four times as long, and not 16
    times.
    """
    tries = ((cpu_time(short), cpu_time(long)) for _ in range(3))
    return any(of_long < max(0.02, 10 * of_short) for of_short, of_long in tries)


@pytest.mark.parametrize("repeated", HOSTILE)
def test_time_grows_with_the_text(repeated):
    """The time is proportional to the length of the text, for any repeated part."""
    for beginning in BEGINNINGS:
        texts = [beginning + repeated * (size // len(repeated)) for size in (25_000, 100_000)]
        assert takes_as_long_as_it_is_long(*texts)


def test_time_of_cards_among_uuids():
    """Not every number is compared with every UUID."""
    uuids = "01234567-89ab-cdef-0123-456789abcdef " * 700
    cards = "4111111111111111, " * 1400
    assert takes_as_long_as_it_is_long(uuids + cards, uuids * 4 + cards * 4)
