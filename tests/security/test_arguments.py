"""Every argument of every method, wrong in every way: an answer that names it, no job, and never an error of ours."""

from xml.sax.saxutils import escape
from xmlrpc.client import Binary, DateTime, Fault, dumps, loads

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_mover.web.parsing import Options
from data_mover.web.xmlrpc.methods import METHODS
from data_mover.web.xmlrpc.system import SYSTEM_METHODS
from tests.servers.http import answered, call_request

SOURCE = {"host": "disk", "path": "/a"}
DESTINATION = {"host": "inbox", "path": "/a"}
WRONG_TYPES = [None, True, 7, 1.5, float("nan"), Binary(b"/a"), DateTime("20260101T00:00:00"), []]
LONG_NAME = "\N{LATIN SMALL LETTER E WITH ACUTE}" * 128  # 256 bytes


def body_of(method, arguments):
    """A call as a careless client writes it: integers of any size, structs whose names are no text."""
    params = "".join(f"<param>{value_xml(argument)}</param>" for argument in arguments)
    return f"<methodCall><methodName>{escape(method)}</methodName><params>{params}</params></methodCall>".encode()


def value_xml(value):
    if isinstance(value, dict):
        members = "".join(f"<member>{name_xml(name)}{value_xml(member)}</member>" for name, member in value.items())
        return f"<value><struct>{members}</struct></value>"
    if isinstance(value, list):
        return f"<value><array><data>{''.join(map(value_xml, value))}</data></array></value>"
    if type(value) is int:
        return f"<value><int>{value}</int></value>"
    return dumps((value,), allow_none=True).removeprefix("<params>\n<param>\n").removesuffix("</param>\n</params>\n")


def name_xml(name):
    return f"<name>{escape(name)}</name>" if isinstance(name, str) else value_xml(name)


@pytest.fixture
def answer_to(service):
    """What a method answers to arguments; a fault is raised."""

    def call(method, arguments):
        return value_of(answered(service.port, call_request(body_of(method, arguments))))

    return call


def value_of(answer):
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"].lower() == "text/xml; charset=utf-8"
    return loads(answer.body)[0][0]


SOURCE_FORMS = "{'host': 'hpc', 'path': '/a.tif'}, {'type': 'species', 'id': 12}, hpc:/a.tif, species:12 or a URL"
FORMS = {
    "source": SOURCE_FORMS,
    "destination": "{'host': 'hpc', 'path': '/maps/'}, hpc:/maps/ or a URL like sftp://hpc/maps/",
}


def missing(field, way_out=""):
    reason = f"Missing or incorrect parameter '{field}'"
    return ("missing-parameter", field, f"{reason}: {way_out}" if way_out else reason)


def not_an_end(role, value, field=None):
    """The refusal of what is neither a struct nor a URL."""
    how = f"write {FORMS[role]}"
    return missing(field or role, f"the text names no host; {how}" if isinstance(value, str) else how)


def invalid(field, problem):
    return ("invalid-parameter", field, f"Invalid parameter '{field}': {problem}")


def source(value):
    return "move", [value, DESTINATION]


def destination(value):
    return "move", [SOURCE, value]


def option(**options):
    return "move", [SOURCE, DESTINATION, options]


PATHS = [
    *[(value, missing) for value in ["", *WRONG_TYPES, {}]],
    *[(path, "must be absolute") for path in ["a", "a/b", "./a", "../a", "~/a", "\\a", "C:\\a"]],
    *[(path, "must not contain '..'") for path in ["/..", "/../a", "/a/..", "/a/../b", "/a//../b", "/./../b"]],
    ("/" + "x" * 256, "a name must not be longer than 255 bytes of UTF-8"),
    ("/" + LONG_NAME, "a name must not be longer than 255 bytes of UTF-8"),
    ("/a/" + "x" * 256 + "/", "a name must not be longer than 255 bytes of UTF-8"),
    ("/x" * 2049, "must not be longer than 4096 bytes of UTF-8"),
]

URLS = [
    ("local://", "the URL names no host"),
    ("local:///a", "the URL names no host"),
    ("local://{host}", "must be absolute"),
    ("local://{host}/%2e%2E/a", "must not contain '..'"),
    ("local://{host}/a/%2E./b", "must not contain '..'"),
    ("local://{host}/..%2fa", "must not contain '..'"),
    ("local://{host}/a%00", "must not contain NUL or control characters other than tab and newline"),
    ("local://{host}/a%1b[0m", "must not contain NUL or control characters other than tab and newline"),
    ("local://{host}/a%0D%0A", "must not contain NUL or control characters other than tab and newline"),
    ("local://{host}/%ED%A0%80", "the %-escapes must be UTF-8"),
    ("local://{host}/%C0%AE%C0%AE/a", "the %-escapes must be UTF-8"),
    ("local://{host}/%ff", "the %-escapes must be UTF-8"),
    ("local://{host}/%", "a % must be followed by two hexadecimal digits; write %25 for the sign itself"),
    ("local://{host}/%u0041", "a % must be followed by two hexadecimal digits; write %25 for the sign itself"),
    ("local://{host}/" + "x" * 256, "a name must not be longer than 255 bytes of UTF-8"),
    ("local://{host}" + "/x" * 2049, "must not be longer than 4096 bytes of UTF-8"),
    *[
        (url, "user, password and port belong in the registry; the URL names a registered host only")
        for url in ["local://me@{host}/a", "local://me:hunter2@{host}/a", "sftp://{host}:22/a", "scp://[::1]/a"]
    ],
    *[
        (url, "a query or fragment means nothing on a registered host; write %3F for ? and %23 for #")
        for url in ["local://{host}/a?b", "local://{host}/a#b", "local://{host}?/a"]
    ],
]

UNREADABLE = "the URL cannot be read, or there can be no host of that name"
WEB_URLS = [
    ("https://", "the URL names no host"),
    ("https:///a", "the URL names no host"),
    ("https://me@web.example.org/a", "user and password belong in the registry, not in the URL"),
    ("https://me:hunter2@web.example.org/a", "user and password belong in the registry, not in the URL"),
    ("https://web.example.org/a#b", "a fragment means nothing here; write %23 for the sign #"),
    ("https://web.example.org/../a", "must not contain '..'"),
    ("https://web.example.org/a/%2e%2E/b", "must not contain '..'"),
    ("https://web.example.org:port/a", UNREADABLE),
    ("https://web.example.org:70000/a", UNREADABLE),
    ("https://[::1/a", UNREADABLE),
    ("https://web.example.org/" + "x" * 8192, "must be text that UTF-8 can carry, of 8192 bytes at most"),
]


def web():
    """The rows of URLs of the web, which is not open, and of which the registry names no server."""
    for url, problem in WEB_URLS:
        yield source(url), invalid("source", problem)
        yield source({"type": "url", "url": url}), invalid("source.url", problem)
    for scheme in ["http", "https"]:
        way_out = "name it in the registry, with a root above the file, or set data_mover.open_web"
        refusal = ("unknown-source", "source.url", f"Unknown source '{scheme}://web.example.org': {way_out}")
        yield source(f"{scheme}://web.example.org/a?key=hunter2"), refusal
        yield source({"type": "url", "url": f"{scheme}://web.example.org/a"}), refusal
        scheme_refusal = ("unknown-scheme", "destination", f"Unknown destination URL scheme '{scheme}'")
        yield destination(f"{scheme}://web.example.org/a"), scheme_refusal


KNOWN = {"source": "disk, archive", "destination": "archive, inbox"}


def ends():
    """The rows that source and destination share."""
    for role, call, host in [("source", source, "disk"), ("destination", destination, "inbox")]:
        for value in ["", "a", "/a", *WRONG_TYPES[:-1]]:
            if (role, value) != ("source", "a") and (role, value) != ("source", "/a"):  # these are data types
                yield call(value), missing(role) if (role, value) == ("source", None) else not_an_end(role, value)
        for value in ["", *WRONG_TYPES, {}]:
            yield call({"host": value, "path": "/a"}), missing(f"{role}.host")
        yield call({}), missing(f"{role}.host")
        yield call({"path": "/a"}), missing(f"{role}.host")
        yield call({"host": host}), missing(f"{role}.path")
        for value, problem in PATHS:
            field = f"{role}.path"
            refusal = missing(field) if problem is missing else invalid(field, problem)
            yield call({"host": host, "path": value}), refusal
        for url, problem in URLS:
            yield call(url.replace("{host}", host)), invalid(role, problem)
        for unknown in ["moon", "DISK", "disk ", " inbox", "127.0.0.1", "..", "*", "\N{SNOWMAN}"]:
            refusal = (f"unknown-{role}", f"{role}.host", f"Unknown {role} '{unknown}'; known: {KNOWN[role]}")
            yield call({"host": unknown, "path": "/a"}), refusal
        for scheme in ["gopher", "file", "ftp", "javascript", ""]:
            refusal = ("unknown-scheme", role, f"Unknown {role} URL scheme '{scheme}'")
            yield call(f"{scheme}://{host}/a"), refusal
    yield (
        source({"host": "inbox", "path": "/a"}),
        invalid("source.host", "the registry does not allow 'inbox' as a source"),
    )
    yield source("local://inbox/a"), invalid("source.host", "the registry does not allow 'inbox' as a source")
    yield (
        destination("local://disk/a"),
        invalid("destination.host", "the registry does not allow 'disk' as a destination"),
    )
    yield (
        destination({"host": "disk", "path": "/a"}),
        invalid("destination.host", "the registry does not allow 'disk' as a destination"),
    )


def sources():
    """The rows of what only a source can be."""
    yield ("move", []), missing("source")
    yield ("move", [SOURCE]), not_an_end("destination", None)
    yield ("move", ["local://disk/a"]), not_an_end("destination", None)
    yield source([]), missing("source", "the list of sources is empty")
    yield source([[SOURCE]]), invalid("source", "a list of sources contains no further list")
    yield source([SOURCE, 7]), not_an_end("source", 7, "source[1]")
    yield source([SOURCE, "/a"]), not_an_end("source", "/a", "source[1]")
    yield source([SOURCE, {"host": "disk"}]), missing("source[1].path")
    yield source([{"host": "disk", "path": "a"}, SOURCE]), invalid("source[0].path", "must be absolute")
    moon = ("unknown-source", "source[1].host", f"Unknown source 'moon'; known: {KNOWN['source']}")
    yield source([SOURCE, {"host": "moon", "path": "/a"}]), moon
    sink = invalid("source[2].host", "the registry does not allow 'inbox' as a source")
    yield source([SOURCE, SOURCE, "local://inbox/a"]), sink
    for value in ["", *WRONG_TYPES]:
        yield source({"type": "url", "url": value}), missing("source.url")
        yield source({"type": value, "id": 12}), missing("source.type")
    yield source({"type": "url"}), missing("source.url")
    no_id = f"text without a colon is a data type, which an id must follow; else write {SOURCE_FORMS}"
    for value in ["", None, True, 1.5, Binary(b"12"), DateTime("20260101T00:00:00"), [], {}]:
        yield source({"type": "species", "id": value}), missing("source.id")
        yield ("move", ["species", value]), missing("id", no_id)
    yield source({"type": "species"}), missing("source.id")
    yield ("move", ["species"]), missing("id", no_id)
    yield ("move", ["/x", DESTINATION]), missing("id", no_id)
    yield source("species:"), missing("source")
    yield source(":12"), missing("source")
    yield source("disk:/../a"), invalid("source", "must not contain '..'")
    one_argument = f"unknown option; with a destination a source is one argument: {SOURCE_FORMS}"
    yield ("move", ["species", 12, DESTINATION]), invalid("options.host", one_argument)
    for kind in ["birds", "Species", "a", "/a", "species/12"]:
        refusal = ("unknown-type", "source.type", f"Unknown source type '{kind}'; known: species, scans")
        yield ("move", [kind, 12]), refusal
        yield source({"type": kind, "id": 12}), refusal
    known = "an id of 'species' must match [A-Za-z0-9][A-Za-z0-9._-]{0,127}"
    for value in [-1, "../1", "..", "a/b", "12\n", " 12", "a b", "x" * 129, 10**200, "\N{SNOWMAN}"]:
        yield source({"type": "species", "id": value}), invalid("source.id", known)
        yield ("move", ["species", value]), invalid("source.id", known)
    yield ("move", ["scans", "a1"]), invalid("source.id", "an id of 'scans' must match [0-9]+")


def options():
    """The rows of the options."""
    for value in ["", "key", True, 7, 1.5, [], [{}], Binary(b""), DateTime("20260101T00:00:00")]:
        yield ("move", [SOURCE, DESTINATION, value]), missing("options")
        yield ("move", ["species", 12, value]), missing("options")
    known = f"unknown option; known: {', '.join(Options.model_fields)}"
    for name in ["prioritty", "Key", "", " key", "if exists", "\N{SNOWMAN}", "__class__"]:
        yield option(**{name: "x"}), invalid(f"options.{name}" if name else "options", known)
    text = "Input should be a valid string"
    for value in [True, 7, 1.5, [], {}, Binary(b"x"), DateTime("20260101T00:00:00")]:
        yield option(key=value), invalid("options.key", text)
        yield option(label=value), invalid("options.label", text)
    yield option(key=""), invalid("options.key", "must not be empty")
    yield option(key="x" * 256), invalid("options.key", "String should have at most 255 characters")
    yield option(label="x" * 256), invalid("options.label", "String should have at most 255 characters")
    for value in ["", "urgent", "HIGH", " high", True, 7, 1.5, [], {}, Binary(b"high")]:
        yield option(priority=value), invalid("options.priority", "Input should be 'high', 'normal' or 'low'")
    for value in ["", "overwrite", "Refuse", True, 7, [], {}]:
        yield option(if_exists=value), invalid("options.if_exists", "Input should be 'replace', 'refuse' or 'verify'")
    digest = "must be sha256: and 64 hexadecimal digits"
    for value in ["", "sha256:", "md5:" + "0" * 32, "0" * 64, "sha256:" + "0" * 63, "sha256:" + "g" * 64, 7, [], {}]:
        yield option(checksum=value), invalid("options.checksum", digest)
        yield option(checksums={"a": value}), invalid("options.checksums.a", digest)
    for value in ["60", 60.5, True, [], {}, Binary(b"60")]:
        yield option(deadline=value), invalid("options.deadline", "Input should be a valid integer")
    for value in [0, -1]:
        yield option(deadline=value), invalid("options.deadline", "Input should be greater than or equal to 1")
    for value in [604_801, 2**31 - 1]:
        yield option(deadline=value), invalid("options.deadline", "Input should be less than or equal to 604800")


def options_of_folders():
    """The rows of the options that choose files, and say what they must be."""
    yield (
        ("move", [[SOURCE, SOURCE], DESTINATION, {"checksum": "sha256:" + "0" * 64}]),
        invalid("options.checksum", "is of one file; name those of several in options.checksums"),
    )
    yield (
        option(checksum="sha256:" + "0" * 64, checksums={"a": "sha256:" + "1" * 64}),
        invalid("options.checksums", "says another than options.checksum, which is of the only file"),
    )
    for value in ["sha256:" + "0" * 64, True, 7, [], Binary(b"")]:
        yield option(checksums=value), invalid("options.checksums", "Input should be a valid dictionary")
    for value in ["", True, 7, {}, [7], [""], [[]], Binary(b"*")]:
        problem = "must be a pattern like *.tif or **/*.csv, or a list of them"
        yield option(match=value), invalid("options.match", problem)
    for value in ["x" * 1001, ["x"] * 101]:
        yield option(match=value), invalid("options.match", "takes 100 patterns of 1000 characters at most")
    yield option(match=[]), invalid("options.match", "the list is empty; without this option every file is taken")
    for value in ["/a.tif", "/**/*.csv", "./a.tif", "../a.tif", "maps/./a.tif", "maps/../a.tif", "maps/", "..", "."]:
        problem = f"'{value}' can match no file; names are seen from the folder, like a.tif or maps/a.tif"
        yield option(match=value), invalid("options.match", problem)
        yield option(match=["*.tif", value]), invalid("options.match", problem)
    for value in ["", "Skip", True, 7, [], {}]:
        yield option(links=value), invalid("options.links", "Input should be 'skip', 'follow' or 'refuse'")
    for value in ["", "true", 7, [], {}]:
        yield option(atomic=value), invalid("options.atomic", "Input should be a valid boolean")


def checks():
    """The rows of what is asked of a job by its id."""
    for method in ["check", "check_move_status", "cancel", "retry", "files", "events", "wait", "explain"]:
        yield (method, []), missing("id")
        for value in ["", None, True, 1.5, float("inf"), Binary(b"1"), DateTime("20260101T00:00:00"), [], [1], {}]:
            yield (method, [value]), missing("id")
        for value in [
            0,
            -1,
            2**31 - 1,
            "0",
            "-1",
            "999999999",
            "9" * 19,
            "9" * 30,
            "1.5",
            " 1",
            "1\n",
            "0x1",
            "1e3",
            "x",
        ]:
            yield (method, [value]), ("no-such-job", "id", "Job does not exist")
        yield (method, ["\N{ARABIC-INDIC DIGIT ONE}"]), ("no-such-job", "id", "Job does not exist")


def filters():
    """The rows of what `files` returns only a part of."""
    for value in ["", True, 7, [], [{}]]:
        yield ("files", [1, value]), missing("filter")
    known = "unknown filter; known: state, after, limit"
    yield ("files", [1, {"stat": "failed"}]), invalid("filter.stat", known)
    states = "Input should be 'pending', 'transferring', 'verified', 'published', 'skipped' or 'failed'"
    for value in ["", "FAILED", 7, []]:
        yield ("files", [1, {"state": value}]), invalid("filter.state", states)
    for name in ["after", "limit"]:
        for value in ["1", 1.5, True, []]:
            yield ("files", [1, {name: value}]), invalid(f"filter.{name}", "Input should be a valid integer")
    yield ("files", [1, {"after": -2}]), invalid("filter.after", "Input should be greater than or equal to -1")
    yield ("files", [1, {"limit": 0}]), invalid("filter.limit", "Input should be greater than or equal to 1")
    yield ("files", [1, {"limit": 1001}]), invalid("filter.limit", "Input should be less than or equal to 1000")


def waits():
    """The rows of how long `wait` may last."""
    for value in ["", "1", None, True, -1, -0.5, 31, float("inf"), float("nan"), [], {}]:
        yield ("wait", [1, value]), invalid("seconds", "must be a number from 0 to 30")


def many_checks():
    """The rows of what is asked of several jobs."""
    for value in ["", "1", None, True, 1, {}]:
        yield ("check_many", [value]), missing("ids", "write a list of ids")
    yield ("check_many", [[1] * 501]), invalid("ids", "takes 500 ids at most")


def lists():
    """The rows of which jobs are listed."""
    for value in ["", True, 7, [], [{}]]:
        yield ("jobs", [value]), missing("filter")
    known = "unknown filter; known: status, phase, host, label, code, caller, since, until, before, limit"
    yield ("jobs", [{"state": "FAILED"}]), invalid("filter.state", known)
    statuses = "Input should be 'PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED' or 'CANCELLED'"
    for value in ["", "failed", 7, []]:
        yield ("jobs", [{"status": value}]), invalid("filter.status", statuses)
    for name in ["host", "label", "caller"]:
        for value in [1, True, [], {}]:
            yield ("jobs", [{name: value}]), invalid(f"filter.{name}", "Input should be a valid string")
    for name in ["since", "until"]:
        for value in ["", "yesterday", 1, []]:
            yield ("jobs", [{name: value}]), invalid(f"filter.{name}", "must be a time like 2027-01-31T12:00:00Z")
        problem = "must say its time zone, like 2027-01-31T12:00:00Z"
        yield ("jobs", [{name: "2027-01-31T12:00:00"}]), invalid(f"filter.{name}", problem)
    for name in ["before", "limit"]:
        for value in ["1", 1.5, True, []]:
            yield ("jobs", [{name: value}]), invalid(f"filter.{name}", "Input should be a valid integer")
    for name in ["before", "limit"]:
        yield ("jobs", [{name: 0}]), invalid(f"filter.{name}", "Input should be greater than or equal to 1")
    yield ("jobs", [{"limit": 501}]), invalid("filter.limit", "Input should be less than or equal to 500")


def introspection():
    """The rows of what asks for a method by name."""
    for method in ["system.methodHelp", "system.methodSignature"]:
        yield (method, []), missing("methodName")
        for value in ["", *WRONG_TYPES, {}]:
            yield (method, [value]), missing("methodName")


def plans(moves):
    """The rows of what a move would be, which are those of a move."""
    for (_, arguments), refusal in moves:
        yield ("plan", arguments), refusal


MOVES = [*ends(), *web(), *sources(), *options(), *options_of_folders()]
REFUSALS = [*MOVES, *plans(MOVES), *checks(), *filters(), *waits(), *many_checks(), *lists(), *introspection()]


def test_every_method_and_every_option_is_among_those_that_are_called_wrongly():
    called = {call[0] for call, _ in [*REFUSALS, *FAULTS]}
    fields = {field for _, (_, field, _) in REFUSALS}

    assert {*METHODS, *SYSTEM_METHODS} <= called
    assert {f"options.{name}" for name in Options.model_fields} <= fields


@pytest.mark.parametrize(("call", "refusal"), REFUSALS, ids=[f"{call[0]}-{refusal[1]}" for call, refusal in REFUSALS])
def test_what_is_wrong_with_an_argument_is_reported_by_name_and_makes_no_job(answer_to, jobs, call, refusal):
    before = jobs()

    answer = answer_to(*call)

    assert answer == dict(zip(("code", "field", "reason"), refusal, strict=True), status="REJECTED")
    assert jobs() == before


FAULTS = [
    (("destroy", []), -32601),
    (("", []), -32601),
    (("Move", []), -32601),
    (("move ", []), -32601),
    (("__init__", []), -32601),
    (("system.methodHelp", ["destroy"]), -32601),
    (("system.methodSignature", ["__init__"]), -32601),
    (("move", [SOURCE, DESTINATION, {}, None]), -32602),
    (("plan", [SOURCE, DESTINATION, {}, None]), -32602),
    (("check", [1, 2]), -32602),
    (("check_move_status", [1, 2]), -32602),
    (("cancel", [1, 2]), -32602),
    (("retry", [1, 2]), -32602),
    (("events", [1, 2]), -32602),
    (("explain", [1, 2]), -32602),
    (("wait", [1, 2, 3]), -32602),
    (("check_many", [[], 1]), -32602),
    (("jobs", [{}, 1]), -32602),
    (("hosts", [None]), -32602),
    (("datasets", [{}]), -32602),
    (("system.listMethods", [1]), -32602),
    (("system.methodHelp", ["move", 1]), -32602),
    (("system.methodSignature", ["move", 1]), -32602),
    (("system.multicall", [[], 1]), -32602),
    *[(("system.multicall", arguments), -32602) for arguments in [[], [None], ["x"], [7], [{}], [[{}] * 101]]],
    *[(("check", ["/a" + character]), -32700) for character in "\0\x01\x0b\x1b\x1f\ufffe\uffff"],
    *[(("move", [{"host": "disk", "path": "/" + c}, DESTINATION]), -32700) for c in "\0\x08\x0c\x1b"],
]


@pytest.mark.parametrize(
    ("call", "code"), FAULTS, ids=lambda value: value[0] if isinstance(value, tuple) else str(value)
)
def test_what_is_wrong_with_a_call_itself_is_a_fault_and_makes_no_job(answer_to, jobs, call, code):
    before = jobs()

    with pytest.raises(Fault) as fault:
        answer_to(*call)

    assert fault.value.faultCode == code
    assert jobs() == before


@pytest.mark.parametrize(
    "surrogate", [b"\xed\xa0\x80", b"&#xD800;", b"&#55296;", b"&#0;", b"&#x1b;", b"\xc0\xaf", b"\xff"]
)
def test_bytes_that_are_no_text_are_a_parse_error(service, surrogate):
    body = body_of("check", ["/a?"]).replace(b"?", surrogate)

    with pytest.raises(Fault) as fault:
        value_of(answered(service.port, call_request(body)))

    assert fault.value.faultCode == -32700


NAMES = [
    "host",
    "path",
    "type",
    "id",
    "url",
    "key",
    "label",
    "priority",
    "checksum",
    "deadline",
    "methodName",
    "params",
]
WORDS = [
    "disk",
    "inbox",
    "species",
    "url",
    "/a",
    "local://disk/a",
    "local://inbox/%00",
    "high",
    "move",
    "system.multicall",
]
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff", min_codepoint=32), max_size=300
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    TEXT,
    st.binary().map(Binary),
    st.sampled_from(["20260101T00:00:00", "", "url", "\N{SNOWMAN}"]).map(DateTime),
)
STRUCT_NAMES = st.one_of(st.sampled_from(NAMES), TEXT, st.integers(), st.booleans(), st.none())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(STRUCT_NAMES, inner, max_size=4),
        st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, inner)),
    ),
    max_leaves=12,
)
CALLS = st.tuples(st.sampled_from(sorted({**METHODS, **SYSTEM_METHODS})), st.lists(VALUES, max_size=4))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(call=CALLS)
def test_whatever_is_sent_an_answer_or_a_declared_fault_comes_back(service, call):
    """-32500, an error of ours, is none of them."""
    method, _ = call

    assert outcome(answered(service.port, call_request(body_of(*call)))) in {
        dict,
        *answer_types(method),
        -32601,
        -32602,
    }


def answer_types(method):
    """What the method says that it answers; refusals are structs."""
    kinds = {"struct": dict, "array": list, "string": str}
    return {kinds[signature[0]] for signature in {**METHODS, **SYSTEM_METHODS}[method].signatures}


def outcome(answer):
    """The type of what was answered, or the code of the fault."""
    try:
        return type(value_of(answer))
    except Fault as fault:
        return fault.faultCode
