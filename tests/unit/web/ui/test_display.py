"""The forms in which pages show values."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from data_mover.domain.states import Phase, Status
from data_mover.services.history import Hour
from data_mover.store.reports import JobReport
from data_mover.web.ui import display
from data_mover.web.ui.actions import path_of
from data_mover.web.ui.chart import HEIGHT, chart_of

AT = datetime(2027, 1, 31, 12, tzinfo=UTC)


def a_move(**changes):
    empty = dict.fromkeys(field.name for field in dataclasses.fields(JobReport))
    values = {"id": 1, "status": Status.IN_PROGRESS, "phase": Phase.TRANSFERRING, "bytes_done": 0, "files_done": 0}
    values |= {"files_total": 1, "source": {"host": "hpc", "path": "/runs/out.tif"}}
    return JobReport(**empty | values | {"destination": {"host": "vis", "path": "/maps/"}} | changes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (3_140_000, "3.1 MB"),
        (99_600_000, "100 MB"),
        (999_600, "1 MB"),
        (5e15, "5 PB"),
    ],
)
def test_a_size_has_two_or_three_digits_and_a_unit(value, text):
    assert display.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (3.14, "3.1 s"), (42, "42 s"), (240, "4 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_a_duration_is_in_its_largest_unit(seconds, text):
    assert display.duration(seconds) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"files_done": 52, "files_total": 2000, "bytes_per_second": 3_000_000, "seconds_left": 240.0},
            "52 of 2&#8239;000 files · 3 MB/s · 4 min left",
        ),
        ({"bytes_done": 3_100_000, "bytes_total": 12_000_000}, "3.1 MB of 12 MB"),
        (
            {
                "status": Status.COMPLETED,
                "phase": None,
                "bytes_done": 12_000_000,
                "bytes_total": 12_000_000,
                "started_at": AT,
                "ended_at": AT + timedelta(seconds=42),
            },
            "12 MB · 42 s",
        ),
        ({"status": Status.PENDING, "phase": Phase.QUEUED}, ""),
    ],
)
def test_progress_says_how_far_how_fast_and_how_long(changes, text):
    assert display.progress(a_move(**changes)) == text


@pytest.mark.parametrize(
    ("source", "name", "origin"),
    [
        ({"host": "hpc", "path": "/runs/out.tif"}, "out.tif", "hpc"),
        ({"host": "hpc", "path": "/all/runs/7/"}, "runs/7/", "hpc"),
        ({"type": "species", "id": "12"}, "species 12", "species"),
        ({"type": "url", "url": "https://data.example.org/a/b.csv"}, "b.csv", "data.example.org"),
        ([{"host": "hpc", "path": "/a"}, {"host": "tape", "path": "/b"}], "a and 1 more", "hpc, tape"),
    ],
)
def test_a_move_is_called_by_what_it_moves(source, name, origin):
    assert (display.name(a_move(source=source)), display.origins(a_move(source=source))) == (name, origin)
    assert display.name(a_move(source=source, label="maps")) == "maps"


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"bytes_done": 1, "bytes_total": 4}, 0.25),
        ({"bytes_done": 5, "bytes_total": 4}, 1.0),
        ({"status": Status.COMPLETED, "bytes_total": 0}, 1.0),
        ({"files_done": 1, "files_total": 2}, 0.5),
        ({}, None),
    ],
)
def test_a_bar_shows_what_is_known(changes, share):
    assert display.share(a_move(**changes)) == share


def test_what_a_stranger_has_written_is_escaped():
    assert display.sentence("run `rm <b>` \u202e") == "run <code>rm &lt;b&gt;</code> \\u202e"
    assert display.sentence("an odd ` tick") == "an odd ` tick"
    assert display.shown("a\nb") == "a\\nb"


@pytest.mark.parametrize("url", ["", "x", "//a", "https://a/", "/\\a", "/a\nb", "javascript:a", "/%0d\r"])
def test_a_form_leads_back_to_a_path_alone(url):
    assert path_of(url) == "/"
    assert path_of("/moves/1?state=failed") == "/moves/1?state=failed"


def test_a_chart_is_as_high_as_its_highest_bar():
    hours = [Hour(AT, size, 1 if size else 0) for size in (0, 50, 100)]
    chart = chart_of(hours)

    assert [bar.height for bar in chart.bars] == [0.0, HEIGHT / 2, HEIGHT]
    assert (chart.bytes, chart.moves, chart.most) == (150, 2, 100)
