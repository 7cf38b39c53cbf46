"""The registry file: read whole, every problem at once."""

import sys
import textwrap
import time

import pytest

from data_mover.backends.http.options import HttpOptions
from data_mover.backends.s3.options import S3Options
from data_mover.backends.webdav.options import WebdavOptions
from data_mover.config import registry_file
from data_mover.config.registry_file import RegistryFile, load_registry
from data_mover.domain.errors import ConfigurationError, Refusal
from data_mover.domain.locations import CatalogueItem, Endpoint, parse_source
from tests.servers.processes import eventually

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjkxFNOtwGcWB2gCgPhk"

GOOD = f"""
[hosts.disk]
protocol = "local"
root = "data"
roles = ["source"]

[hosts.visualizer]
description = "Map visualiser"
protocol = "sftp"
address = "vis.example.org"
username = "bccvl"
password = "env:VIS_PASSWORD"
host_key = "{KEY} a comment"
root = "/srv/visualizer/"
roles = ["destination"]
bandwidth = "20MB/s"
file_mode = "0640"

[datasets.species]
source = "local://disk/species/{{id}}.csv"

[datasets.layers]
source = {{ host = "disk", path = "/layers/{{id}}" }}
id_pattern = "[a-z]+"
"""


@pytest.fixture
def registry_path(tmp_path):
    return tmp_path / "registry.toml"


@pytest.fixture
def problems(registry_path):
    """The problems of a registry with this text, by key."""

    def find(text):
        registry_path.write_text(textwrap.dedent(text))
        try:
            found = load_registry(registry_path, open_web=False).problems
        except ConfigurationError as refused:
            found = refused.problems
        return {problem.key: problem.sentence for problem in found}

    return find


@pytest.fixture
def registry(registry_path):
    registry_path.write_text(GOOD)
    return load_registry(registry_path, open_web=False)


def test_a_good_registry_is_read_with_its_defaults_and_units(registry, tmp_path):
    disk, visualizer = registry.hosts.values()

    assert disk.root == str(tmp_path / "data")
    assert (visualizer.port, visualizer.max_transfers, visualizer.verify) == (22, 4, "sha256")
    assert (visualizer.root, visualizer.bandwidth, visualizer.file_mode) == ("/srv/visualizer", 20_000_000, 0o640)
    assert visualizer.host_key == (KEY,)


def test_every_problem_is_reported_at_once_with_its_key(problems):
    found = problems(
        f"""
        [host.typo]
        [hosts.a]
        protocol = "ftp"
        [hosts.b]
        protocol = "sftp"
        adress = "x"
        root = "relative"
        username = ""
        host_key = "{KEY}"
        roles = ["sink"]
        port = 0
        file_mode = 644
        bandwidth = "fast"
        [hosts."c d"]
        [hosts]
        e = 7
        [datasets.x]
        source = "local://nowhere/a"
        [datasets.y]
        source = "/a"
        """.replace("[hosts]\n        e = 7", "")
    )

    assert found["host"].startswith("unknown key")
    assert "must be one of sftp, scp, local" in found["hosts.a.protocol"]
    assert found["hosts.b.adress"] == "unknown key"
    assert found["hosts.b.address"] == "is missing"
    assert set(found) >= {"hosts.b.root", "hosts.b.username", "hosts.b.roles.0", "hosts.b.port", "hosts.c d"}
    assert "0644" in found["hosts.b.file_mode"]
    assert "20MB/s" in found["hosts.b.bandwidth"]
    assert found["datasets.x.source"] == "Unknown source 'nowhere'; known: none"
    assert "datasets.y.source" in found


def test_a_secret_in_clear_is_refused_with_the_way_out_and_never_repeated(problems):
    found = problems(GOOD.replace("env:VIS_PASSWORD", "hunter2"))

    assert found == {
        "hosts.visualizer.password": "write env:NAME, file:/path or credential:NAME, never the secret itself"
    }


def test_a_secret_that_others_can_read_is_refused_with_the_way_out(problems, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)

    found = problems(GOOD.replace("env:VIS_PASSWORD", f"file:{secret}"))

    assert found["hosts.visualizer.password"] == f"{secret} can be read by others; run: chmod 600 {secret}"


def test_a_host_without_a_pinned_key_is_refused(problems):
    found = problems(GOOD.replace(f'host_key = "{KEY} a comment"', ""))

    assert "host_key or known_hosts" in found["hosts.visualizer"]


def test_a_public_key_instead_of_the_private_one_is_reported(problems, tmp_path):
    (tmp_path / "vis.pub").write_text(f"{KEY} mover\n")

    found = problems(GOOD.replace('password = "env:VIS_PASSWORD"', 'key_file = "vis.pub"'))

    assert found["hosts.visualizer.key_file"].startswith(f"{tmp_path / 'vis.pub'} is a public key; ")


def test_a_section_that_is_no_table_is_reported(problems):
    found = problems('hosts = 5\n[datasets.x]\nsource = "local://disk/{id}"')

    assert set(found) == {"hosts", "datasets.x.source"}


@pytest.mark.parametrize(
    ("keys", "key", "sentence"),
    [
        ('source = "local://disk/{ID}.csv"', "source", "{ID} stands for nothing; the id is written {id}"),
        ('source = ["local://disk/{id}", { host = "disk", path = "/{}" }]', "source", "{} stands for nothing"),
        ('source = { host = "disk", path = "/{id}/{name}" }', "source", "{name} stands for nothing"),
        ('source = "local://disk/{id}"\ndestination = "visualizer:/{item}/"', "destination", "{item} stands for"),
        (
            'source = ["local://disk/{id}.csv", "local://disk/{id}.txt"]\ndestination = "visualizer:/pairs"',
            "destination",
            "several sources need a directory; end the path with /",
        ),
    ],
)
def test_a_data_type_that_can_serve_no_item_is_refused(problems, keys, key, sentence):
    found = problems(f"{GOOD}\n[datasets.x]\n{keys}\n")

    assert list(found) == [f"datasets.x.{key}"]
    assert sentence in found[f"datasets.x.{key}"]


@pytest.mark.parametrize(
    "keys",
    [
        'source = "local://disk/always-the-same.csv"',
        'source = ["local://disk/{id}.csv", "local://disk/{id}.txt"]\ndestination = "visualizer:/pairs/"',
        'source = ["local://disk/{id}.csv"]\ndestination = "visualizer:/pairs"',
    ],
)
def test_a_data_type_may_be_of_one_file_alone_and_of_a_list_that_goes_into_a_directory(registry_path, keys):
    registry_path.write_text(f"{GOOD}\n[datasets.x]\n{keys}\n")

    assert "x" in load_registry(registry_path, open_web=False).datasets


def test_text_that_is_not_toml_is_reported_with_its_position(problems):
    assert "line 2" in problems("# a comment\n[hosts =")["file"]


def test_a_data_type_leads_to_the_path_of_the_id(registry):
    assert registry.resolve_sources((CatalogueItem("species", "12"),)) == (Endpoint("disk", "/species/12.csv"),)
    assert registry.resolve_sources((CatalogueItem("layers", "rain"),)) == (Endpoint("disk", "/layers/rain"),)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ('"https://data.example.org/{id}.csv"', "https://data.example.org/a%2Fb%3Fx%3D1%23%26.csv"),
        (
            '{ type = "url", url = "https://data.example.org/{id}.csv" }',
            "https://data.example.org/a%2Fb%3Fx%3D1%23%26.csv",
        ),
        ('{ type = "url", url = "local://disk/{id}.csv" }', "/a/b?x=1#&.csv"),
        ('{ host = "disk", path = "/{id}.csv" }', "/a/b?x=1#&.csv"),
    ],
)
def test_an_id_is_escaped_in_a_url_however_the_url_is_written(registry_path, source, path):
    registry_path.write_text(f"{GOOD}\n[datasets.odd]\nsource = {source}\nid_pattern = '.+'\n")
    registry = load_registry(registry_path, open_web=True)

    assert [each.path for each in registry.resolve_sources((CatalogueItem("odd", "a/b?x=1#&"),))] == [path]


@pytest.mark.parametrize("item_id", ["../etc", "a/b", "", "-x", "a%2fb", "x" * 200])
def test_an_id_that_could_lead_elsewhere_is_refused(registry, item_id):
    with pytest.raises(Refusal) as refused:
        registry.resolve_sources((CatalogueItem("species", item_id),))

    assert refused.value.field == "source.id"


def test_unknown_names_and_wrong_roles_are_refused_in_the_known_words(registry):
    with pytest.raises(Refusal, match=r"^Unknown source type 'birds'; known: species, layers$"):
        registry.resolve_sources((CatalogueItem("birds", "1"),))
    with pytest.raises(Refusal, match=r"^Unknown source 'moon'; known: disk$"):
        registry.resolve_sources((Endpoint("moon", "/a"),))
    with pytest.raises(Refusal, match=r"^Unknown destination 'moon'; known: visualizer$"):
        registry.resolve_destination(Endpoint("moon", "/a"))
    with pytest.raises(Refusal, match="does not allow 'disk' as a destination"):
        registry.resolve_destination(Endpoint("disk", "/a"))


def test_of_many_names_the_first_are_reported(registry_path):
    registry_path.write_text(
        "".join(GOOD.replace("[hosts.disk]", f"[hosts.disk{n}]").split("[hosts.v")[0] for n in range(21))
    )
    registry = load_registry(registry_path, open_web=False)

    with pytest.raises(Refusal, match=r"known: disk0, disk1, .*disk19, …$"):
        registry.resolve_sources((Endpoint("moon", "/a"),))


def test_a_registry_says_of_an_empty_list_that_it_is_empty(problems):
    found = problems(GOOD.replace('roles = ["source"]', "roles = []"))

    assert found["hosts.disk.roles"] == "must not be empty"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[hosts", "is not TOML"),
        ("", "is empty"),
        ("\n", "is empty"),
        (GOOD.rstrip(), "ends in the middle of a line"),
    ],
)
def test_a_changed_registry_is_read_again_and_one_that_is_broken_is_not(
    registry_path, monkeypatch, caplog, text, sentence
):
    monkeypatch.setattr(registry_file, "SETTLED_SECONDS", 0)
    registry_path.write_text(GOOD)
    file = RegistryFile(registry_path, open_web=False)

    registry_path.write_text(GOOD + '\n[datasets.more]\nsource = "local://disk/{id}"\n')
    assert "more" in file.current().datasets

    registry_path.write_text(text)
    assert "more" in file.current().datasets
    assert f"the old one stays in force: {registry_path}: file: {sentence}" in " ".join(caplog.text.split())


def test_a_registry_that_is_being_written_is_not_taken_before_it_stays_the_same(registry_path, monkeypatch, caplog):
    """It may end behind any line."""
    monkeypatch.setattr(registry_file, "SETTLED_SECONDS", 3600)
    registry_path.write_text(GOOD)
    file = RegistryFile(registry_path, open_web=False)

    registry_path.write_text(GOOD[: GOOD.index("[hosts.visualizer]")])
    assert "visualizer" in file.current().hosts
    whole = GOOD + '\n[datasets.more]\nsource = "local://disk/{id}"\n'
    registry_path.write_text(whole)
    assert "more" in file.current().datasets  # what loses nothing counts at once
    assert "registry-host-missed" not in caplog.text

    bounded = whole.replace("[hosts.visualizer]\n", "[hosts.visualizer]\nmax_transfers = 1\n")
    registry_path.write_text(bounded)
    assert file.current().hosts["visualizer"].max_transfers == 1
    registry_path.write_text(whole)
    assert file.current().hosts["visualizer"].max_transfers == 1

    registry_path.write_text(GOOD[: GOOD.index("[hosts.visualizer]")])
    assert "visualizer" in file.current().hosts
    monkeypatch.setattr(registry_file, "SETTLED_SECONDS", 0.05)
    eventually(lambda: "visualizer" not in file.current().hosts, "the shorter registry is taken")


def test_a_registry_that_was_changed_long_ago_is_taken_at_the_first_look(registry_path, monkeypatch):
    monkeypatch.setattr(registry_file, "SETTLED_SECONDS", 0.1)
    registry_path.write_text(GOOD)
    file = RegistryFile(registry_path, open_web=False)
    registry_path.write_text(GOOD.replace("layers", "levels"))
    changed_at = registry_path.stat().st_ctime

    eventually(lambda: time.time() > changed_at + registry_file.SETTLED_SECONDS, "it has settled")

    assert "levels" in file.current().datasets


def test_a_host_that_leaves_the_registry_is_missed_for_a_minute(registry_path, monkeypatch, caplog):
    monkeypatch.setattr(registry_file, "SETTLED_SECONDS", 0)
    registry_path.write_text(GOOD)
    file = RegistryFile(registry_path, open_web=False)

    registry_path.write_text(GOOD[: GOOD.index("[hosts.visualizer]")])
    assert file.current().missed_hosts == {"visualizer"}
    assert "hosts.visualizer has gone; its jobs wait 60 s" in caplog.text
    registry_path.write_text(GOOD)
    assert file.current().missed_hosts == frozenset()
    registry_path.write_text(GOOD[: GOOD.index("[hosts.visualizer]")])
    assert file.current().missed_hosts == {"visualizer"}

    monkeypatch.setattr(registry_file, "MISSED_SECONDS", 0)
    assert file.current().missed_hosts == frozenset()


@pytest.mark.parametrize("of_the_directory", [False, True])
def test_a_registry_that_others_may_write_is_refused_whenever_that_comes(
    registry_path, monkeypatch, caplog, of_the_directory
):
    monkeypatch.setattr(registry_file, "SETTLED_SECONDS", 0)
    registry_path.write_text(GOOD)
    file = RegistryFile(registry_path, open_web=False)
    registry = file.current()

    (registry_path.parent if of_the_directory else registry_path).chmod(0o777)

    assert file.current() is registry
    assert "can be written by others; run: chmod go-w" in caplog.text
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        load_registry(registry_path, open_web=False)


WITH_A_KEY = """
[hosts.hpc]
protocol = "sftp"
address = "hpc.example.org"
username = "mover"
key_file = "id_hpc"
host_key = "{key}"
root = "/scratch"
roles = ["source", "destination"]

[datasets.runs]
source = "sftp://hpc/{{id}}"
"""


@pytest.mark.parametrize(
    ("problem", "fixed", "sentence"),
    [
        (lambda key: key.unlink(), lambda key: (key.touch(), key.chmod(0o600)), "is not there"),
        (lambda key: key.chmod(0o644), lambda key: key.chmod(0o600), "chmod 600"),
        (lambda key: key.write_text(KEY), lambda key: key.write_text("private"), "is a public key"),
    ],
)
def test_a_host_with_a_problem_is_refused_alone_until_that_is_put_right(
    registry_path, monkeypatch, caplog, problem, fixed, sentence
):
    """The text of the registry does not change: what it names does."""
    key = registry_path.with_name("id_hpc")
    key.write_text("private")
    key.chmod(0o600)
    problem(key)
    registry_path.write_text(GOOD + WITH_A_KEY.format(key=KEY))
    file = RegistryFile(registry_path, open_web=False)

    assert list(file.current().hosts) == ["disk", "visualizer"]
    assert sentence in caplog.text
    for role, resolve in (
        ("source", lambda: file.current().resolve_sources((Endpoint("hpc", "/a"),))),
        ("destination", lambda: file.current().resolve_destination(Endpoint("hpc", "/a"))),
    ):
        with pytest.raises(
            Refusal, match="The host 'hpc' cannot be used: what the registry says of it has a problem"
        ) as refused:
            resolve()
        assert (refused.value.code, refused.value.field) == (f"unknown-{role}", f"{role}.host")
        assert str(key) not in refused.value.reason
    assert file.current().resolve_destination(Endpoint("visualizer", "/a")) == Endpoint("visualizer", "/a")
    assert "runs" in file.current().datasets

    fixed(key)
    monkeypatch.setattr(registry_file, "LOOK_AGAIN_SECONDS", 0)
    assert list(file.current().hosts) == ["disk", "visualizer", "hpc"]
    assert file.current().problems == ()


def test_a_data_type_with_a_problem_is_refused_alone(registry_path):
    registry_path.write_text(GOOD + '\n[datasets.broken]\nsource = "local://nowhere/{id}"\n')
    registry = load_registry(registry_path, open_web=False)

    assert list(registry.datasets) == ["species", "layers"]
    with pytest.raises(
        Refusal, match="The data type 'broken' cannot be used: what the registry says of it has a problem"
    ):
        registry.resolve_sources((parse_source({"type": "broken", "id": "1"}),))


@pytest.mark.parametrize(
    ("keys", "key", "sentence"),
    [
        ('protocol = "https"\nroles = ["destination"]', "hosts.data.roles.0", "source"),
        ('protocol = "http"\nbearer = "env:TOKEN"', "hosts.data", "take https"),
        ('protocol = "http"\nheaders = { X-Key = "env:TOKEN" }', "hosts.data", "take https"),
        ('protocol = "https"\nheaders = { X-Key = "hunter2" }', "hosts.data.headers.X-Key", "never the secret itself"),
        ('protocol = "https"\nheaders = { Host = "env:TOKEN" }', "hosts.data", "Host"),
        ('protocol = "https"\nusername = "me"', "hosts.data", "need each other"),
        ('protocol = "https"\nbearer = "hunter2"', "hosts.data.bearer", "never the secret itself"),
        ('protocol = "https"\nmax_size = "large"', "hosts.data.max_size", "20MB"),
        ('protocol = "https"\nca_file = "missing.pem"', "hosts.data.ca_file", "cannot be read"),
        ('protocol = "https"\n_web = "x"', "hosts.data._web", "unknown key"),
    ],
)
def test_a_problem_about_a_web_server_is_reported(problems, keys, key, sentence):
    found = problems(f'[hosts.data]\naddress = "data.example.org"\n{keys}\n'.replace("\n", "\n        "))

    assert list(found) == [key]
    assert sentence in found[key]
    assert "hunter2" not in str(found)


def test_a_web_server_is_a_source_by_its_urls_and_by_its_paths(registry_path):
    registry_path.write_text('[hosts.data]\nprotocol = "https"\naddress = "data.example.org"\nmax_size = "20GB"\n')
    registry = load_registry(registry_path, open_web=False)

    data = registry.hosts["data"]
    assert isinstance(data, HttpOptions)
    assert (data.port, data.max_size) == (443, 20 * 10**9)
    url = "https://data.example.org/a%20b?c"
    assert registry.resolve_sources((parse_source(url),)) == (Endpoint("data", url),)
    assert str(registry.resolve_sources((parse_source(url),))[0]) == "data:https://data.example.org/a%20b?…"
    path = {"host": "data", "path": "/a b?c"}
    assert registry.resolve_sources((parse_source(path),)) == (Endpoint("data", "/a b?c"),)
    with pytest.raises(Refusal, match="does not allow 'data' as a destination"):
        registry.resolve_destination(Endpoint("data", "/a"))


def test_what_is_outside_the_root_of_a_registered_web_server_is_distinguished_from_an_unknown_one(registry_path):
    registry_path.write_text('[hosts.data]\nprotocol = "https"\naddress = "data.example.org"\nroot = "/pub"\n')
    registry = load_registry(registry_path, open_web=False)

    with pytest.raises(Refusal) as refused:
        registry.resolve_sources((parse_source("https://data.example.org/private/a"),))

    alone = "the registry names it for what is below /pub alone"
    assert refused.value.reason == f"Unknown source 'https://data.example.org': {alone}"


STORE = """
[hosts.store]
protocol = "s3"
endpoint = "https://objects.example.org"
bucket = "climate"
access_key = "env:KEY"
secret_key = "env:SECRET"
root = "/"
roles = ["source"]
"""


def test_a_protocol_whose_extra_is_not_installed_is_a_problem_that_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "registry.toml").write_text(STORE)
    store = load_registry(tmp_path / "registry.toml", open_web=False).hosts["store"]
    assert isinstance(store, S3Options)
    assert store.bucket == "climate"

    monkeypatch.setitem(sys.modules, "botocore", None)

    (problem,) = load_registry(tmp_path / "registry.toml", open_web=False).problems
    assert problem.key == "hosts.store.protocol"
    assert "pip install 'data_mover[s3]'" in problem.sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "objects.example.org"),
        ("endpoint", "ftp://objects.example.org"),
        ("endpoint", "https://key:secret@objects.example.org"),
        ("endpoint", "https://objects.example.org/climate"),
        ("endpoint", "https://objects.example.org?x=y"),
        ("bucket", "a/b"),
        ("access_key", "AKIAIOSFODNN7EXAMPLE"),
        ("secret_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("ca_file", "not-there.pem"),
    ],
)
def test_a_problem_in_a_store_names_its_key_and_no_secret(tmp_path, key, value):
    lines = [line for line in STORE.splitlines() if not line.startswith(f"{key} =")]
    (tmp_path / "registry.toml").write_text("\n".join([*lines, f'{key} = "{value}"']))

    (problem,) = load_registry(tmp_path / "registry.toml", open_web=False).problems

    assert problem.key == f"hosts.store.{key}"
    if key.endswith("_key"):
        assert value not in problem.sentence


@pytest.mark.parametrize("pins", ["known_hosts", "ca_file"])
def test_a_host_whose_pins_others_may_write_is_refused(registry_path, pins):
    file = registry_path.with_name(pins)
    file.write_text("")
    entry = STORE if pins == "ca_file" else WITH_A_KEY.replace('key_file = "id_hpc"', 'password = "env:KEY"')
    lines = [line for line in entry.split("[datasets")[0].splitlines() if not line.startswith("host_key")]
    registry_path.write_text("\n".join([*lines, f'{pins} = "{pins}"']))

    assert load_registry(registry_path, open_web=False).problems == ()
    file.chmod(0o666)
    (problem,) = load_registry(registry_path, open_web=False).problems

    assert problem.key.endswith(f".{pins}")
    assert f"chmod go-w {file}" in problem.sentence


CLOUD = """
[hosts.cloud]
protocol = "webdav"
endpoint = "https://cloud.example.org"
username = "mover"
password = "env:PASSWORD"
root = "/remote.php/dav/files/mover"
roles = ["source", "destination"]
"""


def test_a_webdav_server_needs_no_login(tmp_path):
    lines = [line for line in CLOUD.splitlines() if not line.startswith(("username", "password"))]
    (tmp_path / "registry.toml").write_text("\n".join(lines))

    cloud = load_registry(tmp_path / "registry.toml", open_web=False).hosts["cloud"]

    assert isinstance(cloud, WebdavOptions)
    assert (cloud.origin, cloud.password) == ("https://cloud.example.org", None)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("endpoint", "http://cloud.example.org", "sends no secret without TLS"),
        ("endpoint", "https://cloud.example.org/remote.php", "without a path"),
        ("password", "correct-horse", "never the secret itself"),
        ("bearer", "env:TOKEN", "but not both"),
        ("root", "remote.php", "absolute path"),
    ],
)
def test_a_problem_in_a_webdav_server_is_reported(tmp_path, key, value, sentence):
    lines = [line for line in CLOUD.splitlines() if not line.startswith(f"{key} =")]
    (tmp_path / "registry.toml").write_text("\n".join([*lines, f'{key} = "{value}"']))

    (problem,) = load_registry(tmp_path / "registry.toml", open_web=False).problems

    assert sentence in problem.sentence
    assert "correct-horse" not in problem.sentence
