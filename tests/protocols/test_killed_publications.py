"""Publications that died on a host between the link to the final name and the removal of the temporary one."""

import hashlib
import os

import pytest

from data_mover.backends import PROTOCOLS, connect, writable
from data_mover.domain.locations import IfExists
from data_mover.transfer import FileTask, TemporaryFile
from data_mover.transfer.names import temporary_path
from tests.unit.transfer.diary import Diary, files, move_file

CONTENT = b"verified"


@pytest.mark.parametrize("if_exists", IfExists)
@pytest.mark.parametrize(("protocol", "server"), [("sftp", "openssh"), ("sftp", "openssh_bare"), ("scp", "openssh")])
def test_a_file_that_has_both_names_is_published(request, tmp_path, protocol, server, if_exists):
    """A host without posix-rename publishes by a link if the path does not exist, whatever `if_exists` is."""
    for name in ("source", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "a").write_bytes(CONTENT)
    left = TemporaryFile(temporary_path("/b", 1, 0, 1))
    (tmp_path / "root" / left.path[1:]).write_bytes(CONTENT)
    os.link(tmp_path / "root" / left.path[1:], tmp_path / "root" / "b")
    task = FileTask(
        job_id=1,
        file_number=0,
        attempt=2,
        source_path="/a",
        path="/b",
        checkpoint_bytes=1000,
        state_dir=tmp_path,
        if_exists=if_exists,
        publishing_sha256=hashlib.sha256(CONTENT).hexdigest(),
        temporary_files=(left,),
    )
    diary = Diary()
    table = request.getfixturevalue(server).options(tmp_path / "root", protocol=protocol)

    with writable(connect("far", PROTOCOLS[protocol].options.model_validate(table))) as destination:
        move_file(task, files(tmp_path / "source"), destination, diary)

    assert diary.words[-1] == "published"
    assert os.listdir(tmp_path / "root") == ["b"]
    assert (tmp_path / "root" / "b").read_bytes() == CONTENT
