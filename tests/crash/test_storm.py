"""The storm, for half a minute or two; for more of it see tests/crash/storm.py."""

import random

import pytest

from tests.crash.storm import storm


@pytest.mark.parametrize("seconds", [20, pytest.param(120, marks=pytest.mark.soak)])
def test_a_storm_loses_nothing_and_publishes_nothing_twice(request, tmp_path, openssh, seconds, time):
    seed = random.SystemRandom().randrange(10**6)
    print(f"the seed is {seed}")

    report = storm(tmp_path, openssh, request.config.getoption("--database"), seconds, seed)

    assert report.violations == [], str(report)
