"""The network between site and server disturbs connections."""

import random
import socket
import time
from collections.abc import Callable

from tests.weather.places import Disturber, Place, everywhere, for_a_while

SECONDS = 4.0

# How many of the replies are disturbed.
SHARE = 0.1

GARBAGE = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x16",  # an alert of TLS
    b"\x00\xff\x00\xff\r\n" * 20,
    b"$-7\r\n",
)


Disturb = Callable[[Disturber, socket.socket, bytes], None]


def _disturbed(place: Place, disturb: Disturb) -> None:
    usual = [relay.pass_reply for relay in place.relays]
    for relay in place.relays:
        relay.pass_reply = _sometimes(relay, disturb)
    time.sleep(SECONDS)
    for relay, pass_reply in zip(place.relays, usual, strict=True):
        relay.pass_reply = pass_reply


def _sometimes(relay: Disturber, disturb: Disturb) -> Callable[[socket.socket, bytes], None]:
    def pass_reply(client: socket.socket, reply: bytes) -> None:
        if random.random() < SHARE:
            disturb(relay, client, reply)
        else:
            client.sendall(reply)

    return pass_reply


def reset(place: Place) -> None:
    def in_the_middle(relay: Disturber, client: socket.socket, reply: bytes) -> None:
        client.sendall(reply[: len(reply) // 2])
        relay.reset(client)

    _disturbed(place, in_the_middle)


def silence(place: Place) -> None:
    def after_half(relay: Disturber, client: socket.socket, reply: bytes) -> None:
        client.sendall(reply[: len(reply) // 2])
        relay.silence(client)

    _disturbed(place, after_half)


def late(place: Place) -> None:
    """Later than the engine's timeout of a second."""

    def later(_: Disturber, client: socket.socket, reply: bytes) -> None:
        time.sleep(1.5)
        client.sendall(reply)

    _disturbed(place, later)


def garbage(place: Place) -> None:
    _disturbed(place, lambda _, client, __: client.sendall(random.choice(GARBAGE)))


def swallowed(place: Place) -> None:
    """Existing connections lead nowhere from now on, as if a load balancer had dropped them."""

    def swallow() -> None:
        for relay in place.relays:
            relay.silence_all()

    for_a_while(4, swallow, every=2)


WEATHERS = (
    *everywhere("reset", reset, in_network=True),
    *everywhere("silence", silence, in_network=True),
    *everywhere("late", late, in_network=True),
    *everywhere("garbage", garbage, in_network=True),
    *everywhere("swallowed", swallowed, in_network=True),
)
