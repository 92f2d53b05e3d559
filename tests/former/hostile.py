"""Cookies that no engine has given out."""

HOSTILE = (
    "x",
    "seven77",
    "a" * 10_000,
    "ü" * 3_000,
    "with\x00nul-character",
    "\x00" * 40,
    "lone-surrogate-\ud800",
    "../../../../etc/passwd",
    "line\nbreak and\r\ttabs",
    "*?[a-z]\\*******",
    "' OR 1=1; DROP TABLE --",
    "%s%(key)s{0}{key}" * 2,
    "\x7f\x1b\u202e\ufeff" * 3,
    "🍐" * 8,
)
