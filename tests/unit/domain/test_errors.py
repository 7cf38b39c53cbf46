"""The table of failures."""

import re

import pytest

from data_mover.domain.errors import FAILURES, NoSuchFile


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_every_failure_has_a_sentence_and_says_who_can_fix_it(failure):
    assert re.fullmatch(r"[A-Z].*\.", failure.sentence())
    assert failure.who_can_fix in ("caller", "host owner", "operator")
    assert isinstance(failure.retryable, bool)


def test_a_reason_is_the_sentence_and_what_it_is_about():
    assert NoSuchFile("disk:/a.tif").reason == "There is no such file: disk:/a.tif"
    assert NoSuchFile().reason == "There is no such file."
