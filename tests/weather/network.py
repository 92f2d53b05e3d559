"""The network between site and server disturbs connections."""

import random
import socket
import time
from collections.abc import Callable

from tests.weather.places import Place, Weather, for_a_while

SECONDS = 4.0

# How many of the replies are disturbed.
SHARE = 0.1

GARBAGE = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x16",  # an alert of TLS
    b"\x00\xff\x00\xff\r\n" * 20,
    b"$-7\r\n",
)


def _disturbed(place: Place, disturb: Callable[[socket.socket, bytes], None]) -> None:
    def pass_reply(client: socket.socket, reply: bytes) -> None:
        if random.random() < SHARE:
            disturb(client, reply)
        else:
            client.sendall(reply)

    usual, place.relay.pass_reply = place.relay.pass_reply, pass_reply
    time.sleep(SECONDS)
    place.relay.pass_reply = usual


def reset(place: Place) -> None:
    def in_the_middle(client: socket.socket, reply: bytes) -> None:
        client.sendall(reply[: len(reply) // 2])
        place.relay.reset(client)

    _disturbed(place, in_the_middle)


def silence(place: Place) -> None:
    def after_half(client: socket.socket, reply: bytes) -> None:
        client.sendall(reply[: len(reply) // 2])
        place.relay.silence(client)

    _disturbed(place, after_half)


def late(place: Place) -> None:
    """Later than the engine's timeout of a second."""

    def later(client: socket.socket, reply: bytes) -> None:
        time.sleep(1.5)
        client.sendall(reply)

    _disturbed(place, later)


def garbage(place: Place) -> None:
    _disturbed(place, lambda client, reply: client.sendall(random.choice(GARBAGE)))


def swallowed(place: Place) -> None:
    """Existing connections lead nowhere from now on, as if a load balancer had dropped them."""
    for_a_while(4, place.relay.silence_all, every=2)


WEATHERS = (
    Weather("reset", reset, in_network=True),
    Weather("silence", silence, in_network=True),
    Weather("late", late, in_network=True),
    Weather("garbage", garbage, in_network=True),
    Weather("swallowed", swallowed, in_network=True),
)
