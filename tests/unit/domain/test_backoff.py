"""Whether and when a failed job is tried again."""

from data_mover.domain.backoff import Backoff, RetryPolicy
from data_mover.domain.errors import HostUnreachable, NoSuchFile

POLICY = RetryPolicy(max_attempts=5, backoff=Backoff(first_seconds=4, longest_seconds=10))
A_DAY_SECONDS = 86_400


def test_what_a_retry_cannot_help_is_not_tried_again():
    assert POLICY.wait_seconds(1, NoSuchFile(), A_DAY_SECONDS) is None


def test_the_wait_doubles_up_to_the_longest_and_is_jittered():
    waits = {attempt: POLICY.wait_seconds(attempt, HostUnreachable(), A_DAY_SECONDS) for attempt in (1, 2, 3, 4)}

    assert 2 <= waits[1] <= 4
    assert 4 <= waits[2] <= 8
    assert 5 <= waits[3] <= 10
    assert 5 <= waits[4] <= 10


def test_attempts_are_bounded():
    assert POLICY.wait_seconds(5, HostUnreachable(), A_DAY_SECONDS) is None


def test_no_attempt_begins_after_the_deadline():
    assert POLICY.wait_seconds(1, HostUnreachable(), 1) is None
    assert POLICY.wait_seconds(1, HostUnreachable(), -5) is None
