"""What one job moves, and what must be true of it once all is quiet."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_mover.jobs.models import Job, JobFile
from tests.crash.publications import Publications, seen_in, sha256
from tests.servers.deployment import TERMINAL


@dataclass(frozen=True)
class Cargo:
    """A file, several, or a folder."""

    #: where each file comes from, by its final path
    files: Mapping[Path, Path]
    #: where the folder comes from that the files are in, and its final path
    folder: tuple[Path, Path] | None = None
    is_atomic: bool = False
    is_list: bool = False

    @classmethod
    def of_file(cls, source: Path, final: Path) -> "Cargo":
        return cls({final: source})

    @classmethod
    def of_list(cls, sources: Sequence[Path], receiver: Path) -> "Cargo":
        return cls({receiver / source.name: source for source in sources}, is_list=True)

    @classmethod
    def of_folder(cls, source: Path, final: Path, is_atomic: bool = False) -> "Cargo":
        files = {final / file.relative_to(source): file for file in source.rglob("*") if file.is_file()}
        return cls(files, (source, final), is_atomic)

    @property
    def kind(self) -> str:
        if self.folder is not None:
            return "folder at once" if self.is_atomic else "folder"
        return "list" if self.is_list else "file"

    @property
    def sources(self) -> list[Path]:
        """What a caller names."""
        return [self.folder[0]] if self.folder else list(self.files.values())

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
        if self.folder is not None:
            found += self._of_the_folder(job, publications.of(self.folder[1]))
        names = ", ".join(source.name for source in self.sources)
        return [f"job {job.id} {job.status} {job.code} {names} attempt {job.attempt}: {each}" for each in found]

    def _of_the_end(self, job: Job, failures: Collection[str]) -> Iterator[str]:
        if job.status not in TERMINAL:
            yield "has not ended"
        explained = job.code in failures or (job.code == "no-such-file" and not self.is_whole)
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
        """What callers are told of each file."""
        files = [row for row in rows if row.kind == "file"]
        arrived = {row.path for row in files if row.state in ("published", "skipped")}
        unknown = {row.path for row in files if row.code == "unknown-outcome"}
        if job.status == "COMPLETED" and not (len(files) == len(self.files) == job.files_done == job.files_total):
            yield f"{job.files_done} of {job.files_total} files are told of, {len(files)} are on record"
        if job.planned and job.files_done != len(arrived):
            yield f"{job.files_done} files are told of, and {len(arrived)} of them one by one"
        if self.is_atomic and job.status != "COMPLETED":
            return
        for final in self.files:
            path = next((row.path for row in files if row.path and str(final).endswith(row.path)), None)
            if came[final] and path not in arrived | unknown and job.code != "unknown-outcome":
                yield f"{final.name} was published all the same"
            if path in arrived and not came[final]:
                yield f"{final.name} has arrived, as is told, and was never seen"

    def _of_the_folder(self, job: Job, came: Sequence[str]) -> Iterator[str]:
        source, final = self.folder or (Path(), Path())
        expected = seen_in(source) if source.exists() else None
        if job.status == "COMPLETED" and seen_in(final) != expected:
            yield "the folder is another"
        if self.is_atomic and (came not in ([], [expected]) or (final.exists() and seen_in(final) != expected)):
            yield "a part of the folder was seen"
        if self.is_atomic and (came or final.exists()) and job.status != "COMPLETED" and job.code != "unknown-outcome":
            yield "the folder appeared all the same"
