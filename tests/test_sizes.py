"""Numbers of bytes, for people to read."""

import pytest

from sessions_redis.sizes import shown_size


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 bytes"),
        (408, "408 bytes"),
        (178.4, "178 bytes"),
        (999.4, "999 bytes"),
        (999.6, "1.0 kB"),
        (1000, "1.0 kB"),
        (34_960, "35.0 kB"),
        (99_949, "99.9 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (413e6, "413 MB"),
        (1.5e9, "1.5 GB"),
        (9e15, "9,000 TB"),
    ],
)
def test_a_size(size, shown):
    """It has three digits at most, or thousands separators where no larger unit is left."""
    assert shown_size(size) == shown
