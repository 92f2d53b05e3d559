"""The clock of Redis, as far as this process knows it."""

import time
from math import inf

# Seconds for which a process trusts its own clock although times from Redis lie ahead of it.
TRUSTED = 60.0

# Seconds by which such a time may lie ahead: it is whole seconds, and was read a moment ago.
TOLERANCE = 5.0


class ServerClock:
    """
    An estimate of the server's time, in epoch seconds.

    It begins with this machine's clock and is set by each reply that has the server's time. Between
    two of these nobody who sets this machine's clock moves it.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._was_set = -inf

    def set(self, now: float) -> None:
        self._was_set = time.monotonic()
        self._offset = now - self._was_set

    def is_over(self, seconds: float, *moments: int) -> bool:
        """
        Whether each of ``moments``, in the server's epoch seconds, is more than ``seconds`` ago.

        A moment in the future says that this clock is slow: then it may be over, unless the clock
        was set a short time ago. In that case the moment is damaged, and is not counted.
        """
        ticks = time.monotonic()
        now = ticks + self._offset
        past = [moment for moment in moments if moment <= now + TOLERANCE]
        if len(past) < len(moments) and ticks - self._was_set > TRUSTED:
            return True
        return all(now - moment > seconds for moment in past)


# Sessions are all in one Redis.
server_clock = ServerClock()
