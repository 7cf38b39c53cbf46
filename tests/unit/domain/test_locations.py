"""What callers write as source and destination."""

import pytest

from data_mover.domain.errors import Refusal
from data_mover.domain.locations import CatalogueItem, Endpoint, parse_destination, parse_short_endpoint, parse_source

SURROGATE = "\ud800"


@pytest.mark.parametrize(
    ("written", "location"),
    [
        ({"host": "hpc", "path": "/runs/7/out.tif"}, Endpoint("hpc", "/runs/7/out.tif")),
        ({"host": "hpc", "path": "/a", "type": "scp", "nobody": "reads this"}, Endpoint("hpc", "/a")),
        ({"type": "species", "id": 12}, CatalogueItem("species", "12")),
        ({"type": "species", "id": "a-1"}, CatalogueItem("species", "a-1")),
        ({"type": "url", "url": "sftp://hpc/a%20b"}, Endpoint("hpc", "/a b")),
        ("sftp://hpc/a/b.tif", Endpoint("hpc", "/a/b.tif")),
        ("hpc:/a/b.tif", Endpoint("hpc", "/a/b.tif")),
        ("hpc:/a://b", Endpoint("hpc", "/a:/b")),
        ("species:12", CatalogueItem("species", "12")),
        ("SCP://hpc/a", Endpoint("hpc", "/a")),
        ("local://disk/%C3%A9%0A%3F", Endpoint("disk", "/é\n?")),
        ("sftp://hpc/tab\tand\nnewline", Endpoint("hpc", "/tab\tand\nnewline")),
    ],
)
def test_every_form_of_a_source_is_understood(written, location):
    assert parse_source(written) == location


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/", "/"),
        ("/a//b/./c", "/a/b/c"),
        ("/a/", "/a/"),
        ("/a/.", "/a/"),
        ("/ $(x) *?[x]-'\"\t\n", "/ $(x) *?[x]-'\"\t\n"),
        ("/" + "x" * 255, "/" + "x" * 255),
    ],
)
def test_a_path_is_literal_and_keeps_its_trailing_slash(path, kept):
    assert parse_destination({"host": "h", "path": path}).path == kept


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a/b", "absolute"),
        ("/a/../b", "'..'"),
        ("/..", "'..'"),
        ("/a\0", "NUL"),
        ("/a\x1b[0m", "control"),
        ("/a\r", "control"),
        ("/" + SURROGATE, "UTF-8"),
        ("/" + "é" * 128, "255 bytes"),
        ("/" + "x/" * 2048, "4096 bytes"),
    ],
)
def test_a_path_that_cannot_be_used_is_refused_with_the_reason(path, problem):
    with pytest.raises(Refusal) as refused:
        parse_destination({"host": "h", "path": path})

    assert refused.value.field == "destination.path"
    assert refused.value.reason.startswith("Invalid parameter 'destination.path': ")
    assert problem in refused.value.reason


@pytest.mark.parametrize(
    ("written", "field"),
    [
        (None, "source"),
        (12, "source"),
        ({}, "source.host"),
        ({"host": "", "path": "/a"}, "source.host"),
        ({"host": 7, "path": "/a"}, "source.host"),
        ({"host": "h"}, "source.path"),
        ({"host": "h", "path": ""}, "source.path"),
        ({"host": "h", "path": ["/a"]}, "source.path"),
        ({"type": "species"}, "source.id"),
        ({"type": "species", "id": True}, "source.id"),
        ({"type": "species", "id": ""}, "source.id"),
        ({"type": 7, "id": 12}, "source.type"),
        ({"type": "url"}, "source.url"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_refused_by_name(written, field):
    with pytest.raises(Refusal) as refused:
        parse_source(written)

    assert refused.value.reason.startswith(f"Missing or incorrect parameter '{field}'")
    assert refused.value.field == field


@pytest.mark.parametrize(
    "url",
    [
        "sftp:///a",
        "sftp://user@hpc/a",
        "sftp://user:secret@hpc/a",
        "sftp://hpc:22/a",
        "sftp://hpc/a?b",
        "sftp://hpc/a#b",
        "sftp://hpc/100%",
        "sftp://hpc/%ff",
        "sftp://hpc/%2e%2e/a",
        "sftp://hpc",
    ],
)
def test_a_url_says_a_registered_host_and_a_path_and_nothing_else(url):
    with pytest.raises(Refusal) as refused:
        parse_source(url)

    assert refused.value.field == "source"
    assert "secret" not in refused.value.reason


def test_an_unknown_scheme_is_refused_in_the_known_words():
    with pytest.raises(Refusal, match=r"^Unknown source URL scheme 'gopher'$"):
        parse_source("gopher://hpc/a")


@pytest.mark.parametrize("text", ["vis:/maps/", "sftp://vis/maps/"])
def test_the_default_destination_has_a_short_form_and_a_url(text):
    assert parse_short_endpoint(text, "default") == Endpoint("vis", "/maps/")
