"""The short ones of the tests that ``make moves`` runs for each former engine and kind of Redis."""

from tests.live_move.moves import (  # noqa: F401
    test_a_session_that_lies_only_there_is_ended,
    test_killed_at_any_point,
    test_lifetime,
    test_signed_out_everywhere,
    test_twenty_first_requests_at_once,
)
from tests.live_move.outages import (  # noqa: F401
    test_an_unknown_key_again_and_again,
    test_it_goes_away_before_the_copy_is_deleted,
    test_redis_is_away,
    test_the_former_store_is_away,
)
from tests.live_move.shared import (  # noqa: F401
    new,
    old,
    test_signed_out_everywhere_while_sharing,
    test_the_last_log_out_on_an_old_worker,
    test_the_last_write_of_an_old_worker,
)
