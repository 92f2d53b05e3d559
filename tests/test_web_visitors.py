"""Tests the address and user agent of a request: which headers are trusted, and what is saved."""

from ipaddress import ip_address, ip_network

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessions_redis import conf
from sessions_redis.web.visitors import MAX_AGENT, address_of, client_ip, metadata_of

PROXIES = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32")
UNIX = ("unix", "10.0.0.0/8")

examples = hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ip_of(remote, forwarded=None, proxies=()):
    meta = {"REMOTE_ADDR": remote}
    if forwarded is not None:
        meta["HTTP_X_FORWARDED_FOR"] = forwarded
    return client_ip(meta, proxies)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        (" 198.51.100.7 ", "198.51.100.7"),
        ("198.51.100.7:8080", "198.51.100.7"),
        ("[198.51.100.7]:8080", "198.51.100.7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:8080", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:8080", "fe80::1"),
        ("::1", "::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("[::ffff:198.51.100.7]:8080", "198.51.100.7"),
    ],
)
def test_addresses(text, address):
    """An address is accepted in many notations, and returned in its normal form."""
    assert str(address_of(text)) == address


JUNK = [
    "",
    " ",
    "unknown",
    "_hidden",
    "localhost",
    "198.51.100",
    "198.51.100.256",
    "198.51.100.07",
    "198.51.100.7/24",
    "198.51.100.7:",
    "198.51.100.7:http",
    "1:2",
    ":80",
    "[",
    "[]",
    "[]:80",
    "[::1]http",
    "2001:db8::7::1",
    "1,2",
    '"198.51.100.7"',
    "for=198.51.100.7",
    "198.51.100.7\x00",
    "३.३.३.३",
    "a" * 10_000,
]


@pytest.mark.parametrize("text", JUNK)
def test_junk_is_no_address(text):
    """Text that is not an address gives None."""
    assert address_of(text) is None
    assert ip_of(text) is None


@pytest.mark.parametrize("forwarded", [None, "", "203.0.113.5", "203.0.113.5, 10.0.0.2", "junk"])
def test_nobody_is_believed_by_default(forwarded):
    """X-Forwarded-For is ignored, unless the request comes from a trusted proxy."""
    assert ip_of("198.51.100.7", forwarded) == "198.51.100.7"
    assert ip_of("198.51.100.7", forwarded, PROXIES) == "198.51.100.7"
    assert ip_of("2001:db7::7", forwarded, PROXIES) == "2001:db7::7"


@pytest.mark.parametrize(
    ("forwarded", "ip"),
    [
        (None, "10.0.0.1"),
        ("", "10.0.0.1"),
        ("203.0.113.5", "203.0.113.5"),
        ("203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db7::5]:4711", "2001:db7::5"),
        ("203.0.113.5,10.0.0.2", "203.0.113.5"),
        ("203.0.113.5, 192.0.2.1 , 2001:db8::9", "203.0.113.5"),
        ("1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        ("10.0.0.9, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("203.0.113.5, junk, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.5, unknown", "10.0.0.1"),
        ("203.0.113.5,,10.0.0.2", "10.0.0.2"),
        ("203.0.113.5,", "10.0.0.1"),
        ("::ffff:203.0.113.5, ::ffff:10.0.0.2", "203.0.113.5"),
    ],
)
def test_behind_trusted_proxies(forwarded, ip):
    """Takes the right-most hop that is not a trusted proxy. Junk ends the search."""
    assert ip_of("10.0.0.1", forwarded, PROXIES) == ip


def test_a_proxy_that_connects_by_ipv6():
    """Trusted networks are compared as networks, for IPv4 and IPv6."""
    assert ip_of("2001:db8:0:0::1", "203.0.113.5", PROXIES) == "203.0.113.5"
    assert ip_of("::ffff:10.0.0.1", "203.0.113.5", PROXIES) == "203.0.113.5"


@pytest.mark.parametrize("remote", ["", "unix:"])
def test_a_proxy_that_connects_by_a_socket(remote):
    """A unix socket has no address. The entry "unix" trusts the proxies that use one."""
    assert ip_of(remote, "203.0.113.5, 10.0.0.2", UNIX) == "203.0.113.5"
    assert ip_of(remote, "203.0.113.5, 10.0.0.2", PROXIES) is None
    assert ip_of(remote, None, UNIX) is None
    assert ip_of(remote, "junk", UNIX) is None
    assert ip_of("198.51.100.7", "203.0.113.5", UNIX) == "198.51.100.7"


def test_no_address_at_all():
    """A request without an address gives None."""
    assert client_ip({}) is None
    assert client_ip({}, UNIX) is None


# Any hop that a client could send, and chains of them.
HOPS = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(network="10.0.0.0/8").map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]:80"),
    st.sampled_from(JUNK),
    st.text(max_size=20),
)
CHAINS = st.lists(HOPS, max_size=6).map(",".join)


@examples
@given(remote=HOPS, forwarded=CHAINS)
def test_whatever_is_sent(remote, forwarded):
    """Any headers give an address in its normal form or None, and never raise."""
    for proxies in ((), PROXIES, UNIX):
        ip = ip_of(remote, forwarded, proxies)
        assert ip is None or str(ip_address(ip)) == ip


@examples
@given(remote=st.ip_addresses().map(str), forwarded=CHAINS)
def test_an_untrusted_client_is_never_believed(remote, forwarded):
    """The header of an untrusted client changes nothing."""
    if not any(ip_address(remote) in ip_network(network) for network in PROXIES):
        assert ip_of(remote, forwarded, PROXIES) == ip_of(remote)


@examples
@given(written=CHAINS, client=st.ip_addresses(network="203.0.113.0/24").map(str))
def test_an_untrusted_hop_is_never_believed(written, client):
    """Hops to the left of the client's own address are ignored: the client may have forged them."""
    chain = f"{written},{client},10.0.0.7"
    assert ip_of("10.0.0.1", chain, PROXIES) == client


# What is saved


def agent_of(agent):
    return metadata_of({"REMOTE_ADDR": "::1", "HTTP_USER_AGENT": agent}).get(b"@agent")


def test_both_are_kept():
    """Address and user agent become metadata fields."""
    meta = {"REMOTE_ADDR": "198.51.100.7", "HTTP_USER_AGENT": "Firefox"}
    assert metadata_of(meta) == {b"@ip": b"198.51.100.7", b"@agent": b"Firefox"}


def test_what_is_not_known_is_not_kept():
    """A missing address or user agent has no field."""
    assert metadata_of({}) == {}
    assert metadata_of({"REMOTE_ADDR": "junk", "HTTP_USER_AGENT": "  "}) == {}


@pytest.mark.parametrize(
    ("agent", "kept"),
    [
        (" Firefox ", b"Firefox"),
        ("Fire\r\nfox\x00\x1b[31m", b"Firefox[31m"),
        ("Firefox\udcff", b"Firefox"),
        ("Fir\u202eéfox", "Firéfox".encode()),
        ("\t", None),
    ],
)
def test_an_agent_is_printable(agent, kept):
    """A user agent loses characters that could disturb a terminal or a log."""
    assert agent_of(agent) == kept


@pytest.mark.parametrize(
    ("agent", "length"),
    [("x" * 250, 250), ("x" * 9000, 250), ("x" + "é" * 200, 249), ("🦊" * 99, 248)],
)
def test_a_long_agent_is_cut_between_characters(agent, length):
    """At most 250 bytes are saved, and no partial character."""
    kept = agent_of(agent)
    assert len(kept) == length
    assert agent.startswith(kept.decode())


@examples
@given(agent=st.text(max_size=400))
def test_any_agent(agent):
    """Any user agent is saved as short, printable text."""
    kept = (agent_of(agent) or b"").decode()
    assert len(kept.encode()) <= MAX_AGENT
    assert kept == "" or kept.isprintable()


# The setting


@pytest.mark.parametrize(
    "networks", [[], ["10.0.0.0/8"], ("::1", "unix"), ["2001:db8::/32", "192.0.2.1"]]
)
def test_proxies_that_are_taken(settings, session_redis, networks):
    """Addresses, networks and "unix" are accepted, in a list or a tuple."""
    settings.SESSION_REDIS = {**session_redis, "TRUSTED_PROXIES": networks}
    assert list(conf.problems(settings.SESSION_REDIS)) == []
    assert list(conf.current().trusted_proxies) == list(networks)


@pytest.mark.parametrize(
    "network", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example.com", "", "*", None, "unix:", "10.0.0"]
)
def test_proxies_that_are_refused(settings, session_redis, network):
    """The error names an invalid network, and says what to write instead."""
    settings.SESSION_REDIS = {**session_redis, "TRUSTED_PROXIES": ["10.0.0.0/8", network]}
    (problem,) = conf.problems(settings.SESSION_REDIS)
    assert problem.id == "sessions_redis.E004"
    assert repr(network) in problem.message
    assert '"10.0.0.0/8", or "unix"' in problem.hint
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
        conf.current()


@pytest.mark.parametrize("value", ["10.0.0.0/8", None, {"10.0.0.0/8"}])
def test_proxies_that_are_no_list(session_redis, value):
    """A single network, or any other value that is not a list, is an error."""
    (problem,) = conf.problems({**session_redis, "TRUSTED_PROXIES": value})
    assert "not a list of networks" in problem.message
