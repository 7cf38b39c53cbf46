"""What one job moves, and what must be true of it once all is quiet."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_mover.store.models import Job, JobFile
from tests.crash.publications import Publications, seen_in, sha256
from tests.servers.deployment import TERMINAL

#: the codes of a source that was removed
NOT_THERE = ("no-such-file", "http-404")


@dataclass(frozen=True)
class Cargo:
    """A file, a folder, or a list of them."""

    #: what a caller names
    sources: Sequence[Path]
    #: where it goes
    final: Path
    #: where each file comes from, by its final path
    files: Mapping[Path, Path]
    #: the same of each folder
    folders: Mapping[Path, Path]
    is_atomic: bool = False
    is_list: bool = False
    #: which sources are read from the web
    from_web: Collection[Path] = ()

    @classmethod
    def of_file(cls, source: Path, final: Path) -> "Cargo":
        return cls([source], final, {final: source}, {})

    @classmethod
    def of_folder(cls, source: Path, final: Path, is_atomic: bool = False) -> "Cargo":
        return cls([source], final, _files(source, final), {final: source}, is_atomic)

    @classmethod
    def of_list(
        cls, sources: Sequence[Path], receiver: Path, is_atomic: bool = False, from_web: Collection[Path] = ()
    ) -> "Cargo":
        placed = [(receiver / source.name, source) for source in sources]
        files = {final: file for place, source in placed for final, file in _files(source, place).items()}
        folders = {place: source for place, source in placed if source.is_dir()}
        return cls(sources, receiver, files, folders, is_atomic, True, from_web)

    @property
    def kind(self) -> str:
        of = "list" if self.is_list else "folder" if self.folders else "file"
        return f"{of} at once" if self.is_atomic else of

    @property
    def is_whole(self) -> bool:
        """Whether every source is there."""
        return all(source.exists() for source in self.sources)

    def violations(
        self,
        job: Job,
        rows: Sequence[JobFile],
        publications: Publications,
        replaced: Collection[Path],
        failures: Collection[str],
    ) -> list[str]:
        """What is not as it must be. `rows` are the job's files as they are on record; `replaced` are the final paths
        at which something stood before; `failures` are the codes that what happened explains."""
        came = {final: publications.of(final)[final in replaced :] for final in self.files}
        found = [
            *self._of_the_end(job, failures),
            *self._of_the_files(job, came),
            *self._of_the_record(job, rows, came),
        ]
        for final, source in self.folders.items():
            found += self._of_a_folder(job, source, final)
        if self.is_atomic:
            found += self._of_what_appears(job, publications.of(self.final))
        names = ", ".join(source.name for source in self.sources)
        return [f"job {job.id} {job.status} {job.code} {names} attempt {job.attempt}: {each}" for each in found]

    def _of_the_end(self, job: Job, failures: Collection[str]) -> Iterator[str]:
        if job.status not in TERMINAL:
            yield "has not ended"
        explained = job.code in failures or (job.code in NOT_THERE and not self.is_whole)
        if job.status == "FAILED" and not explained:
            yield f"nothing explains that: {job.reason}"

    def _of_the_files(self, job: Job, came: Mapping[Path, list[str]]) -> Iterator[str]:
        for final, source in self.files.items():
            expected = sha256(source) if source.exists() else None
            if job.status == "COMPLETED" and (not final.exists() or sha256(final) != expected):
                yield f"{final.name} is another"
            if len(came[final]) > 1 or (job.status == "COMPLETED" and len(came[final]) != 1):
                yield f"{final.name} was published {len(came[final])} times"
            if any(digest != expected for digest in came[final]):
                yield f"{final.name}: something else was published"

    def _of_the_record(self, job: Job, rows: Sequence[JobFile], came: Mapping[Path, list[str]]) -> Iterator[str]:
        """What callers see of each file."""
        files = [row for row in rows if row.kind == "file"]
        arrived = {row.path for row in files if row.state in ("published", "skipped")}
        unknown = {row.path for row in files if row.code == "unknown-outcome"}
        if job.status == "COMPLETED" and not (len(files) == len(self.files) == job.files_done == job.files_total):
            yield f"{job.files_done} of {job.files_total} files are reported, {len(files)} are on record"
        if job.planned and job.files_done != len(arrived):
            yield f"{job.files_done} files are reported, and {len(arrived)} of them one by one"
        if self.is_atomic and job.status != "COMPLETED":
            return
        for final in self.files:
            path = next((row.path for row in files if row.path and str(final).endswith(row.path)), None)
            if came[final] and path not in arrived | unknown and job.code != "unknown-outcome":
                yield f"{final.name} was published all the same"
            if path in arrived and not came[final]:
                yield f"{final.name} has arrived, as is reported, and was never seen"

    def _of_a_folder(self, job: Job, source: Path, final: Path) -> Iterator[str]:
        has_come = job.status == "COMPLETED" or (self.is_atomic and final.exists())
        if has_come and not (source.exists() and seen_in(final) == seen_in(source)):
            yield f"{final.name} is another folder"

    def _of_what_appears(self, job: Job, came: Sequence[str]) -> Iterator[str]:
        """All at once, and then nothing changes any more."""
        there = seen_in(self.final) if self.final.exists() else None
        if came != ([] if there is None else [there]):
            yield "a part was seen"
        if there is not None and job.status != "COMPLETED" and job.code != "unknown-outcome":
            yield "it appeared all the same"


def _files(source: Path, final: Path) -> dict[Path, Path]:
    """Where the file goes, or each of the folder's."""
    if not source.is_dir():
        return {final: source}
    return {final / file.relative_to(source): file for file in source.rglob("*") if file.is_file()}
