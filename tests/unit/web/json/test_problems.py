"""Errors of `/api/v1` as problem details."""

import logging

import pytest
from pyramid.registry import Registry
from pyramid.request import Request

from data_mover.web.json.problems import CONTENT_TYPE, problems_tween


def broken(request):
    raise ZeroDivisionError("token=secret")


def test_an_error_of_this_program_is_a_problem_that_says_nothing_of_it(caplog):
    with caplog.at_level(logging.ERROR):
        response = problems_tween(broken, Registry())(Request.blank("/api/v1/moves/7"))

    assert (response.status_code, response.content_type) == (500, CONTENT_TYPE)
    assert response.json["code"] == "internal-server-error"
    assert "secret" not in response.text
    assert "request-broke method=GET" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_error_elsewhere_is_left_to_the_server():
    with pytest.raises(ZeroDivisionError):
        problems_tween(broken, Registry())(Request.blank("/moves/7"))
