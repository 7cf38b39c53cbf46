"""What the pages say, over HTTP."""

import re
from xmlrpc.client import MultiCall

import pytest

from tests.servers.processes import eventually


@pytest.fixture(scope="module")
def moves(service):
    """A move that has arrived, a folder that has, and one that has failed."""
    with service.proxy as proxy:
        ids = [
            proxy.move("species", 1, {"label": "koalas"})["id"],
            proxy.move("layers", "2050")["id"],
            proxy.move("species", 99, {"label": "<b>\u202e"})["id"],
        ]
    for job_id in ids:
        service.ended(job_id)
    return ids


def test_nothing_is_sent_again_until_something_changes(get, proxy, service, moves):
    tag = get("/").headers["ETag"]

    def is_settled():
        nonlocal tag
        answer = get("/", If_None_Match=tag)
        tag = answer.headers["ETag"]
        return answer.status == 304 and answer.text == ""

    eventually(is_settled, "nothing changes")
    service.ended(proxy.move("species", 2)["id"])
    changed = eventually(
        lambda: answer if (answer := get("/", If_None_Match=tag)).status == 200 else None, "the page has changed"
    )

    assert "species 2" in changed.text
    assert changed.headers["ETag"] != tag
    assert get(f"/moves/{moves[0]}", If_None_Match=tag).status == 200


def test_browsers_that_watch_share_a_page_and_no_token(get, moves):
    pages = [get("/?q=status:failed", X_Watches="1") for _ in range(3)]
    tokens = {re.search(r'name="csrf_token" value="(.+?)"', page.text)[1] for page in pages}

    assert len(tokens) == 3
    assert len({page.headers["ETag"] for page in pages}) == 3
    assert len({re.sub(r'name="csrf_token" value=".+?"', "", page.text) for page in pages}) == 1


def test_pages_load_only_what_the_service_sends_and_have_no_script_within(get, moves):
    answer = get(f"/moves/{moves[0]}")

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert re.findall(r"(?:src|href|action)=\"(?!/|#)", answer.text) == []
    assert re.findall(r"<script(?! src=)|<style| style=| on\w+=", answer.text) == []
    for path in re.findall(r"(?:src|href)=\"(/static/[^\"]+)", answer.text):
        loaded = get(path)
        assert loaded.status == 200
        assert "max-age=31536000" in loaded.headers["Cache-Control"]


def test_a_move_has_a_page_with_its_way_its_files_and_its_proof(get, proxy, moves):
    single, folder, failed = moves

    assert proxy.check(single)["sha256"] in get(f"/moves/{single}").text
    text = get(f"/moves/{folder}").text
    assert all(name in text for name in ("0.tif", "1.tif", "2.tif", "Submitted", "A worker has begun", "Completed"))
    assert "3 files" in text
    refused = get(f"/moves/{failed}").text
    assert "There is no such file: archive:/species/99.csv" in refused
    assert "Whoever asked for it can fix it." in refused
    assert get(f"/moves/{failed}").text.count("<b>") == 0
    assert "&lt;b&gt;\\u202e" in refused


def test_a_query_that_is_no_text_is_refused(get):
    assert get("/?q=%ff").status == 400


def test_files_are_filtered_and_paged_by_their_numbers(get, proxy, moves):
    first, *others = [file["number"] for file in proxy.files(moves[1])]
    behind = get(f"/moves/{moves[1]}?after={first}").text

    assert re.findall(r'id="file-(\d+)"', behind) == list(map(str, others))
    assert "No file is failed." in get(f"/moves/{moves[1]}?state=failed").text


@pytest.mark.parametrize("path", ["/moves/999999", "/moves/x", "/nothing", "/moves/1?state=odd"])
def test_what_does_not_exist_has_a_page_that_says_so(get, moves, path):
    answer = get(path)

    assert answer.status in (404, 422)
    assert "To the moves" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"koalas", "2050"}),
        ("label:koalas", {"koalas"}),
        ('label:"koalas"', {"koalas"}),
        ("status:completed host:archive", {"koalas", "2050"}),
        ("host:slow", set()),
        ("since:1h", {"koalas", "2050"}),
        ("until:2020-01-01", set()),
        ("caller:local status:completed", {"koalas", "2050"}),
        ("caller:somebody", set()),
    ],
)
def test_the_filter_is_in_the_url(get, moves, text, found):
    listed = get("/?q=" + text.replace(" ", "+").replace('"', "%22")).text

    assert {name for name in ("koalas", "2050") if re.search(rf'class="name"[^>]*>[^<]*{name}', listed)} == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("koalas", "a word of the filter has one of status:"),
        ("state:failed", "a word of the filter has one of status:"),
        ("status:broken", "status"),
        ("status:failed status:pending", "is written once"),
        ("since:yesterday", "must be like 30m, 12h, 7d, 2w or 2027-01-31"),
        ("since:99999w", "since"),
    ],
)
def test_a_filter_that_means_nothing_says_what_would(get, text, sentence):
    answer = get("/?q=" + text.replace(" ", "+"))

    assert answer.status == 200
    assert sentence in answer.text.partition('role="alert">')[2].partition("</p>")[0].replace("&#39;", "'")


def test_a_page_of_moves_leads_to_older_ones(get, proxy):
    calls = MultiCall(proxy)
    for _ in range(51):
        calls.move("species", 1, {"label": "many"})
    calls()
    ids = sorted(job["id"] for job in proxy.jobs({"label": "many", "limit": 51}))

    first = get("/?q=label:many").text
    older = re.search(r'rel="next" href="([^"]+)', first)[1].replace("&amp;", "&")

    assert f'id="move-{ids[-1]}"' in first
    assert f'id="move-{ids[0]}"' not in first
    assert re.findall(r'id="move-(\d+)"', get(older).text) == [str(ids[0])]
