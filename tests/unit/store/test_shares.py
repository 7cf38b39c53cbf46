"""Who has the workers: one host or one caller, or several."""

from data_mover.store.shares import RunningJob, Shares


def running(*jobs: tuple[str, str, int]) -> list[RunningJob]:
    """Jobs 1, 2, ... of a caller, with these hosts, at so many bytes a second."""
    return [
        RunningJob(number, caller, frozenset(hosts.split()), 1, rate)
        for number, (caller, hosts, rate) in enumerate(jobs, start=1)
    ]


def test_the_slowest_job_gives_way_once_no_worker_is_free():
    jobs = running(("a", "disk hpc", 900), ("a", "disk hpc", 5), ("a", "disk vis", 5))

    assert [number for number in (1, 2, 3) if Shares(jobs, 3).gives_way(number)] == [2]
    assert Shares(jobs, 4).gives_way(2) is None


def test_with_one_worker_nothing_gives_way_and_no_host_has_all():
    shares = Shares(running(("a", "disk hpc", 5)), 1)

    assert shares.gives_way(1) is None
    assert shares.would_have_all(["disk", "hpc"]) == 0


def test_a_job_is_kept_out_by_a_host_that_all_others_need():
    shares = Shares(running(("a", "disk hpc", 5), ("a", "disk hpc", 5)), 2)

    assert shares.is_kept_out("a", ["disk", "vis"])
    assert not shares.is_kept_out("a", ["disk", "hpc"])


def test_a_job_is_not_kept_out_by_what_it_shares_with_all():
    shares = Shares(running(("a", "disk hpc", 5), ("a", "disk vis", 5)), 2)

    assert not shares.is_kept_out("a", ["disk", "archive"])


def test_a_caller_is_kept_out_by_one_who_has_all_workers():
    one, two = Shares(running(("a", "x", 5), ("a", "y", 5)), 2), Shares(running(("a", "x", 5), ("b", "y", 5)), 2)

    assert one.is_kept_out("b", ["z"])
    assert not one.is_kept_out("a", ["z"])
    assert not two.is_kept_out("c", ["z"])


def test_a_host_would_have_all_workers_with_the_last_free_one():
    jobs = running(("a", "disk hpc", 5), ("a", "disk hpc", 5))

    assert Shares(jobs, 3).would_have_all(["disk", "hpc"]) == 2
    assert Shares(jobs, 3).would_have_all(["disk", "vis"]) == 1
    assert Shares(jobs, 4).would_have_all(["disk", "hpc"]) == 0
    assert Shares([], 2).would_have_all(["disk"]) == 0
