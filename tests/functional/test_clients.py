"""XML-RPC as other languages speak it: real clients, and what others were recorded to send."""

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xmlrpc.client import Fault, dumps, loads

import pytest

from tests.servers.http import CHECK, answered, call_request, connected, next_answer
from tests.servers.processes import absent, program

CLIENTS = Path(__file__).parent / "clients"


#: the scripts of other languages, and a command that succeeds if the language has the library of XML-RPC that they use
SCRIPTS = {
    "ruby": ("move.rb", ["-rxmlrpc/client", "-e", "1"]),
    "perl": ("move.pl", ["-MFrontier::Client", "-MLWP::Protocol::https", "-e", "1"]),
    "php": ("move.php", ["-r", "exit((int) !function_exists('xmlrpc_encode_request'));"]),
    "node": ("move.js", ["-e", "require('xmlrpc')"]),
}


def moved_by(language, url, **environment):
    """What the client of a language reports."""
    script, has_library = SCRIPTS[language]
    interpreter = program(language)
    if subprocess.run([interpreter, *has_library], capture_output=True).returncode:
        absent(f"{language} has no library for XML-RPC, or none for TLS")
    command = [interpreter, str(CLIENTS / script), url, "/é.txt", f"/é-{language}.txt"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, **environment})
    return json.loads(done.stdout)


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_client_of_another_language_moves_a_file_and_reads_every_answer(service, roots, language):
    (roots.disk / "é.txt").write_text("from elsewhere")

    reported = moved_by(language, service.url)

    assert reported["job"]["status"] == "COMPLETED"
    assert (reported["job"]["path"], reported["job"]["label"]) == (f"/é-{language}.txt", "é <&> ]]>")
    assert float(reported["job"]["bytes_done"]) == len("from elsewhere")
    assert (roots.archive / f"é-{language}.txt").read_text() == "from elsewhere"
    assert reported["refusal"]["reason"].startswith("Unknown source type 'birds'")
    assert reported["fault"] == -32601
    assert reported["batch"] == ["Hash", "String"]


def test_a_multicall_describes_every_method(proxy):
    """So asks `xml-rpc-api2txt`, which comes with the C library."""
    names = proxy.system.listMethods()
    asked = [
        {"methodName": f"system.{question}", "params": [name]}
        for name in names
        for question in ("methodSignature", "methodHelp")
    ]

    answers = [answer for [answer] in proxy.system.multicall(asked)]

    assert [proxy.system.methodSignature(name) for name in names] == answers[::2]
    assert [proxy.system.methodHelp(name) for name in names] == answers[1::2]


def text_of(answer):
    """The reason of a refusal."""
    assert answer.status == 200
    refusal: Any = loads(answer.body)[0][0]
    return refusal["reason"]


RUBY = """<?xml version="1.0" ?><methodCall><methodName>move</methodName><params><param><value><string>é&lt;</string>\
</value></param><param><value><i4>12</i4></value></param></params></methodCall>
"""
PERL_RPC_XML = """<?xml version="1.0" encoding="us-ascii"?><methodCall><methodName>move</methodName><params><param>\
<value><string>&#233;&lt;</string></value></param><param><value><int>12</int></value></param></params></methodCall>"""
PHP = """<?xml version="1.0" encoding="iso-8859-1"?>
<methodCall>
<methodName>move</methodName>
<params>
 <param>
  <value>
   <string>&#233;&#60;</string>
  </value>
 </param>
 <param>
  <value>
   <int>12</int>
  </value>
 </param>
</params>
</methodCall>
"""
C = """<?xml version="1.0" encoding="UTF-8"?>\r
<methodCall>\r
<methodName>move</methodName>\r
<params>\r
<param><value><string>é&lt;</string></value></param>\r
<param><value><i8>12</i8></value></param>\r
<param><value><struct>\r
<member><name>label</name>\r
<value><string>a</string></value></member>\r
<member><name>key</name>\r
<value><nil/></value></member>\r
</struct></value></param>\r
</params>\r
</methodCall>\r
"""


def move_of(first, second="<int>12</int>", head=""):
    params = f"<params><param><value>{first}</value></param><param><value>{second}</value></param></params>"
    return f"{head}<methodCall><methodName>move</methodName>{params}</methodCall>"


DIALECTS = {
    "Ruby": RUBY,
    "Perl's RPC::XML": PERL_RPC_XML,
    "PHP": PHP,
    "C": C,
    "a byte order mark": "\ufeff" + RUBY,
    "Latin-1": move_of("é&lt;", head='<?xml version="1.0" encoding="ISO-8859-1"?>').encode("latin-1"),
    "untyped text": move_of("é&lt;"),
    "untyped text with an id of text": move_of("é&lt;", "12"),
    "CDATA": move_of("<string><![CDATA[é<]]></string>"),
    "comments": move_of("<string>é<!-- here -->&lt;</string>", head="<!-- a client -->"),
    "processing instructions": move_of("<?a b?><string>é<?c d?>&lt;</string>", head='<?xml version="1.0"?><?a b?>'),
    "whitespace between elements": move_of("<string>é&lt;</string>").replace("><", ">\r\n\t <"),
    "extensions of Apache": move_of("é&lt;", "<ex:i8>12</ex:i8>").replace(
        "<methodCall>", '<methodCall xmlns:ex="http://ws.apache.org/xmlrpc/namespaces/extensions">'
    ),
    "i8": move_of("é&lt;", "<i8>12</i8>"),
    "nil": move_of("é&lt;").replace("</params>", "<param><value><nil/></value></param></params>"),
    "ex:nil": move_of("é&lt;").replace("</params>", "<param><value><ex:nil/></value></param></params>"),
}


@pytest.mark.parametrize("body", DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_is_understood(service, body):
    encoded = body if isinstance(body, bytes) else body.encode()

    assert text_of(answered(service.port, call_request(encoded))).startswith("Unknown source type 'é<'")


def test_a_string_without_text_is_empty_and_whitespace_is_text(service):
    empty, blank = (answered(service.port, call_request(move_of(text).encode())) for text in ("<string/>", " "))

    assert text_of(empty).startswith("Missing or incorrect parameter 'source'")
    assert text_of(blank).startswith("Unknown source type ' '")


CHUNKS = b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in (CHECK[:1], CHECK[1:50], CHECK[50:]))
CHUNKED = (
    b"POST /data_mover HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ANSWERED = {
    "HTTP/1.0": call_request(line="POST /data_mover HTTP/1.0"),
    "HTTP/1.0 without a host": call_request(line="POST /data_mover HTTP/1.0").replace(b"Host: localhost\r\n", b""),
    "a trailing slash": call_request(line="POST /data_mover/ HTTP/1.1"),
    "an absolute address": call_request(line="POST http://localhost/data_mover HTTP/1.1"),
    "chunks": CHUNKED + CHUNKS + b"0\r\n\r\n",
    "chunks with a trailer": CHUNKED + CHUNKS + b"0\r\nX-Sum: 1\r\n\r\n",
    "a charset": call_request().replace(b"text/xml", b'text/xml; charset="UTF-8"'),
    "a media type in capitals": call_request().replace(b"text/xml", b"TEXT/XML"),
    "application/xml": call_request().replace(b"text/xml", b"application/xml;charset=utf-8"),
    "no content encoding, said": call_request(CHECK, "Content-Encoding: Identity"),
    "a wish for gzip": call_request(CHECK, "Accept-Encoding: gzip, deflate", "TE: deflate,gzip;q=0.3"),
    "leave to continue asked for": call_request(CHECK, "Expect: 100-continue"),
}


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED)
def test_every_manner_of_sending_is_answered(service, request_):
    answer = answered(service.port, request_)

    assert text_of(answer) == "Job does not exist"
    assert answer.headers["Content-Type"].lower() == "text/xml; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_calls_share_a_connection_one_after_the_other_and_all_at_once(service):
    with connected(service.port) as connection, connection.makefile("rb") as answers:
        for _ in range(3):
            connection.sendall(call_request())
            assert text_of(next_answer(answers)) == "Job does not exist"

        connection.sendall(call_request() * 5 + call_request(b"<a/>") + call_request())
        reported = [next_answer(answers) for _ in range(7)]

    assert [text_of(answer) for answer in reported[:5] + reported[6:]] == ["Job does not exist"] * 6
    with pytest.raises(Fault):
        loads(reported[5].body)


def test_a_compressed_call_is_refused_in_words(service):
    answer = answered(service.port, call_request(gzip.compress(CHECK), "Content-Encoding: gzip"))

    assert answer.status == 415
    assert b"no content encoding" in answer.body


def test_what_is_answered_has_only_what_every_client_reads(service, proxy):
    """The first XML-RPC: no nil, no i8, no empty value without a type; text in UTF-8."""
    source, label = {"host": "disk", "path": "/\N{SNOWMAN}%"}, {"label": "é\t"}
    job_id = proxy.move(source, "local://archive/a%EF%BF%BF%0A", label)["id"]
    calls = [{"methodName": "check", "params": [job_id]}, {"methodName": "hosts"}, {"methodName": "datasets"}]
    body = dumps((calls,), "system.multicall").encode()

    answer = answered(service.port, call_request(body)).body.decode()

    assert "\N{SNOWMAN}" in answer
    assert "a\N{REPLACEMENT CHARACTER}\n" in answer
    assert {element.tag for element in ElementTree.fromstring(answer).iter()} <= {
        *("methodResponse", "params", "param", "value", "array", "data", "struct", "member", "name"),
        *("string", "int", "double", "boolean"),
    }


def test_signatures_are_an_array_of_arrays_of_types(proxy):
    known = {"int", "string", "struct", "array", "double", "boolean"}

    for name in proxy.system.listMethods():
        signatures = proxy.system.methodSignature(name)
        assert signatures
        assert all(isinstance(signature, list) and signature and set(signature) <= known for signature in signatures)
