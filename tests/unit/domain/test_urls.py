"""Addresses of files on the web."""

import pytest

from data_mover.domain.urls import Url, safe_name, without_query

SECRET = "correct-horse"


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("https://data.example.org/x/12.csv", "https://data.example.org/x/12.csv"),
        ("HTTPS://Data.Example.ORG.:443/X/%7e12.csv?A=b", "https://data.example.org/X/%7E12.csv?A=b"),
        ("http://data.example.org:8080", "http://data.example.org:8080/"),
        ("http://bücher.example/é?ü=ß", "http://xn--bcher-kva.example/%C3%A9?%C3%BC=%C3%9F"),
        ("http://[2001:DB8::1]:80/a b", "http://[2001:db8::1]/a%20b"),
        ("http://h/a/./b/c?", "http://h/a/b/c?"),
        ("http://h/tab\tand\nnewline", "http://h/tab%09and%0Anewline"),
    ],
)
def test_a_url_has_one_spelling(written, full):
    url = Url.parse(written)

    assert url.full == full
    assert Url.parse(full) == url


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (f"https://user:{SECRET}@h/a", "belong in the registry"),
        (f"https://{SECRET}@h/a", "belong in the registry"),
        (f"https://h/a#{SECRET}", "%23"),
        (f"https://h/a/%2e%2e/{SECRET}", "'..'"),
        (f"https://h:{SECRET}/a", "cannot be read"),
        (f"https://h:99999/{SECRET}", "cannot be read"),
        (f"https://h:0/{SECRET}", "port 0"),
        (f"https://[::1]:00000/{SECRET}", "port 0"),
        (f"https:///{SECRET}", "no host"),
        (f"https://./{SECRET}", "no host"),
        (f"https://\uff11\uff12\uff17.0.0.1/{SECRET}", "cannot be read"),
        (f"ftp://h/{SECRET}", "http or https"),
        (f"https://h/\ud800{SECRET}", "UTF-8"),
        ("https://h/" + "x" * 8192, "8192 bytes"),
    ],
    ids=ascii,
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(written, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        Url.parse(written)

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "path",
    [
        "/public/..;/x",
        "/public/..;a=b/x",
        "/public/..%3B/x",
        "/public/..%5Cx",
        "/public/..%5c..%5cx",
        "/public\\..\\x",
        "/public/%252e%252e/x",
        "/public/%25252e%25252e%25252fx",
        "/public/..%252fx",
        "/public/..%255cx",
        "/public/..%c0%afx",
        "/public/%c0%ae%c0%ae/x",
        "/public/..%e0%80%afx",
        "/public/%e0%80%ae./x",
        "/public/..%f0%80%80%afx",
        "/public/..%c1%9cx",
        "/public/..%25c0%25afx",
        "/public/%u002e%u002e/x",
        "/public/..%u2215x",
        "/public/..%uff0fx",
        "/public/..%ef%bc%8fx",
        "/public/%ef%bc%8e%ef%bc%8e/x",
        "/public/%e2%80%a5/x",
        "/public/..%00/x",
        "/public/x%00.csv",
        "/public/x%2500.csv",
        "/public/.%09./x",
        "/public/..%20/x",
        "/public/..%0d%0a/x",
        "/public/..%23/x",
        "/public/..%3f/x",
        "/public/..%e2%88%95x",
        "/public/..%e2%81%84x",
        "/public/..%e2%88%96x",
        "/public/..%u2216x",
        "/public/..%u2044x",
        "/public/%u2025/x",
        "/public/..%c2%85/x",
        "/public/..%85/x",
        "/public/.%e2%80%8b./x",
        "/public/..%e2%80%a8/x",
        "/public/..%c2%a0/x",
        "/public/..%c0%bb/x",
        "/public/..%c0%a0/x",
        "/public/%f8%80%80%80%ae./x",
        "/public/%fc%80%80%80%80%ae./x",
        "/public/..%f8%80%80%80%afx",
        "/public/..%fc%80%80%80%81%9cx",
        "/public/..%25f8%2580%2580%2580%25afx",
        "/public/x%c0%80.csv",
        "/public/..:x",
        "/public/..=/x",
        "/public/..%7c/x",
        "/public/.../x",
        "/public/%e2%80%a6/x",
    ],
    ids=ascii,
)
def test_what_any_server_could_read_as_a_step_up_is_no_url(path):
    with pytest.raises(ValueError, match=r"must not contain ('\.\.'|the character NUL)"):
        Url.parse(f"https://h{path}")


@pytest.mark.parametrize(
    "path",
    [
        "/a..b/..c/d../...e",
        "/..%c3%a9t%c3%a9",
        "/x%e2%88%95y%e2%81%84z",
        "/%f0%9f%97%ba/%ff%fe",
        "/100%25/%252f",
        "/a;b=c/d",
        "/%ef%bc%8e/x",
        "/a%5Cb",
    ],
)
def test_a_name_that_leads_nowhere_is_taken_as_it_is(path):
    assert Url.parse(f"https://h{path}").path.lower() == path.lower()


def test_a_query_may_be_a_secret_and_is_not_shown():
    url = Url.parse(f"https://h/a?key={SECRET}")

    assert str(url) == "https://h/a?…"
    assert without_query(url.full) == "https://h/a?…"
    assert without_query("/a?b") == "/a?b"
    assert without_query("https://h/a") == "https://h/a"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("12.csv", "12.csv"),
        ("é b.csv", "é b.csv"),
        ("a/b\0c\nd\x7f", "a_b_c_d_"),
        ("..", "download"),
        (".", "download"),
        ("", "download"),
        ("é" * 200, "é" * 127),
    ],
)
def test_a_name_is_made_safe(name, safe):
    assert safe_name(name) == safe
