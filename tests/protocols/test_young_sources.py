"""A source that is written twice within what its host tells of time: what was read first is not published."""

import os
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from data_mover.backends import connect
from data_mover.backends.http.options import HttpOptions
from data_mover.domain.errors import SourceChanged
from data_mover.transfer import FileTask
from tests.servers.web import web_server
from tests.unit.transfer.diary import Diary, files, move_file

FIRST, SECOND = b"first", b"other"
TASK = FileTask(
    job_id=7, file_number=0, attempt=1, source_path="/a", path="/b", checkpoint_bytes=2**20, state_dir=Path("/tmp")
)


class Overwriting(Diary):
    """Somebody writes the source again once it has been read."""

    def __init__(self, overwrite):
        super().__init__()
        self._overwrite = overwrite

    def moved(self, acknowledged_bytes):
        super().moved(acknowledged_bytes)
        self._overwrite()


@pytest.mark.parametrize("etag", [None, 'W/"weak"', '"65f0a1b2-5"'], ids=["none", "weak", "of size and second"])
def test_a_young_file_of_a_web_server_is_read_again_whatever_its_version(tmp_path, etag):
    content, written_at = [FIRST], formatdate(int(time.time()), usegmt=True)
    with web_server(tmp_path / "web") as server:
        server.faults["/a"] = lambda handler: handler.answer(200, content[0], ETag=etag, Last_Modified=written_at)
        diary = Overwriting(lambda: content.__setitem__(0, SECOND))

        with (
            connect("web", HttpOptions.model_validate(server.options())) as source,
            pytest.raises(SourceChanged),
        ):
            move_file(TASK, source, files(tmp_path / "here"), diary)

    assert diary.proof is None
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_young_local_file_is_read_again_where_its_disk_may_tell_whole_seconds(tmp_path, is_whole):
    (tmp_path / "there").mkdir()
    source, now = tmp_path / "there" / "a", time.time_ns()
    written_at = now // 10**9 * 10**9 if is_whole else now - 100_000_001

    def write(content):
        source.write_bytes(content)
        os.utime(source, ns=(written_at, written_at))

    write(FIRST)
    diary = Overwriting(lambda: write(SECOND))
    if is_whole:
        with pytest.raises(SourceChanged):
            move_file(TASK, files(tmp_path / "there"), files(tmp_path / "here"), diary)
        assert diary.proof is None
    else:
        move_file(TASK, files(tmp_path / "there"), files(tmp_path / "here"), diary)
        assert diary.proof is not None
