"""The clock of Redis, as far as this process knows it."""

import time
from math import inf

# After the clock was set, times from Redis that lie ahead of it count as damaged for this many
# seconds.
TRUSTED = 60.0

# If this machine's clock moves by more seconds than time has passed, it was changed, or the machine
# slept.
JUMP = 1.0

# Such a time may be this many seconds ahead, because Redis stores whole seconds.
TOLERANCE = 5.0


class ServerClock:
    """
    An estimate of the server's time, in epoch seconds.

    It begins with this machine's clock and is set by each reply that has the server's time. Between
    two such replies, changes to this machine's clock have no effect.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._was_set = self._asked = -inf
        self._ahead = self._machine = 0.0

    def set(self, now: float) -> None:
        self._was_set = time.monotonic()
        self._offset = now - self._was_set

    def set_after(self, now: float, asked: float) -> None:
        """As `set`, from a reply to a command that was sent after ``asked``, as of `monotonic`."""
        self.set(now)
        self._asked, self._ahead = asked, now - asked
        self._machine = time.time() - self._was_set

    def now(self) -> float:
        return time.monotonic() + self._offset

    def is_within(self, seconds: float, moment: float) -> bool:
        """
        Whether ``moment``, in the server's epoch seconds, is certainly less than ``seconds`` ago.

        ``False`` also if this is not known: before `set_after` was called, a long time after that,
        or if this machine slept or its clock was changed since.
        """
        ticks = time.monotonic()
        is_known = ticks - self._asked <= max(2 * seconds, TRUSTED)
        if not is_known or abs(time.time() - ticks - self._machine) > JUMP:
            return False
        # The server answered after it was asked, so this is too late rather than too early.
        return 0 <= ticks + self._ahead - moment < seconds

    def is_over(self, seconds: float, *moments: int) -> bool:
        """
        Whether each of ``moments``, in the server's epoch seconds, is more than ``seconds`` ago.

        A moment in the future means that this clock may be slow, so the result is ``True``. If the
        clock was set within `TRUSTED` seconds, the moment is damaged instead, and is ignored.
        """
        ticks = time.monotonic()
        now = ticks + self._offset
        past = [moment for moment in moments if moment <= now + TOLERANCE]
        if len(past) < len(moments) and ticks - self._was_set > TRUSTED:
            return True
        return all(now - moment > seconds for moment in past)


# Sessions are all in one Redis.
server_clock = ServerClock()
