"""The storm, for a minute; for more of it see tests/crash/storm.py."""

import random

from tests.crash.storm import storm

SECONDS = 60


def test_a_storm_loses_nothing_and_publishes_nothing_twice(request, tmp_path, openssh, time):
    seed = random.SystemRandom().randrange(10**6)
    print(f"the seed is {seed}")

    report = storm(tmp_path, openssh, request.config.getoption("--database"), SECONDS, seed)

    assert report.violations == [], str(report)
