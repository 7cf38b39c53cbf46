"""Which names a pattern takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_mover.domain.selection import Selection

LETTERS = "ab."


def takes(pattern, name):
    return Selection((pattern,)).takes(name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*.tif", "a.tif"),
        ("*.tif", "line\nbreak.tif"),
        ("*", ".hidden"),
        ("?", "é"),
        ("**/*.csv", "a.csv"),
        ("**/*.csv", "a/b/c.csv"),
        ("**", "a/.b/c"),
        ("a/**", "a/b/c"),
        ("a/**/c", "a/c"),
        ("a**c", "abc"),
        ("[a-c]", "b"),
        ("[!a-c]", "d"),
        ("[*]", "*"),
        ("[[]a]", "[a]"),
        ("[", "["),
        ("{a,b}", "{a,b}"),
        ("~", "~"),
        ("!a", "!a"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_a_pattern_takes_a_name(pattern, name):
    assert takes(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*.tif", "a/b.tif"),
        ("*.tif", "a.TIF"),
        ("a?b", "a/b"),
        ("a[!c]b", "a/b"),
        ("a**c", "a/c"),
        ("a/**", "a"),
        ("*/**", "a"),
        ("/a", "a"),
        ("a/", "a"),
        ("a", "a/b"),
        ("[!a-c]", "b"),
        ("{a,b}", "a"),
        ("!a", "b"),
    ],
)
def test_a_pattern_leaves_a_name_out(pattern, name):
    assert not takes(pattern, name)


def test_one_of_several_patterns_is_enough_and_none_takes_everything():
    assert Selection(("*.tif", "*.csv")).takes("a.csv")
    assert not Selection(("*.tif", "*.csv")).takes("a.txt")
    assert Selection().takes("a/b")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("**/*/" * 14 + "b", "a/" * 60 + "a"),
        ("**/" * 300 + "b", "a/" * 2000 + "a"),
        ("*a" * 40, "a" * 250 + "b"),
        ("*?" * 40 + "b", "a" * 250),
    ],
)
def test_a_pattern_that_could_take_a_name_in_very_many_ways_comes_to_an_end(pattern, name):
    assert not takes(pattern, name)


def segments(least):
    return st.lists(st.text(LETTERS, min_size=1, max_size=3), min_size=least, max_size=4)


@given(
    st.lists(st.just("**") | st.text(LETTERS + "*?", min_size=1, max_size=4), min_size=1, max_size=5),
    segments(least=1),
)
def test_a_pattern_means_what_trying_everything_comes_to(pattern, name):
    assert takes("/".join(pattern), "/".join(name)) == stands_for(pattern, name)


def stands_for(pattern, name):
    """Whether the segments of a pattern stand for those of a name."""
    if not pattern or not name:
        return not pattern and not name
    head, *rest = pattern
    if head == "**":
        return stands_for(rest, name) or stands_for(pattern, name[1:]) or (not rest and len(name) == 1)
    return spells(head, name[0]) and stands_for(rest, name[1:])


def spells(pattern, text):
    """Whether one segment of a pattern stands for one of a name."""
    if pattern.startswith("*"):
        return spells(pattern[1:], text) or (text != "" and spells(pattern, text[1:]))
    if not pattern or not text:
        return pattern == text
    return pattern[0] in ("?", text[0]) and spells(pattern[1:], text[1:])
