"""The forms in which pages show values. Untrusted text is escaped: what does not print here, the rest by Jinja."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from data_mover.domain.printable import printable
from data_mover.domain.states import EventKind, Status
from data_mover.domain.urls import without_query
from data_mover.store.events import EventReport
from data_mover.store.reports import JobReport

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
_DURATIONS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_THIN_SPACE = Markup("&#8239;")

_EVENTS = {
    EventKind.SUBMITTED: "Submitted",
    EventKind.CLAIMED: "A worker has begun",
    EventKind.ATTEMPT_FAILED: "The attempt has failed; another one follows",
    EventKind.ATTEMPT_POSTPONED: "The attempt has been put off",
    EventKind.LEASE_LOST: "The worker gave no sign of life",
    EventKind.FILES_ARRIVED: "Arrived",
    EventKind.FILES_FAILED: "Failed",
    EventKind.CANCEL_REQUESTED: "Cancelled by its caller; the worker stops",
    EventKind.ENDING: "Its end is decided",
    EventKind.COMPLETED: "Completed, and proven",
    EventKind.FAILED: "Failed",
    EventKind.CANCELLED: "Cancelled",
}
_WHO = {
    "caller": "Whoever asked for it can fix it.",
    "host owner": "The owner of the host can fix it.",
    "operator": "Whoever runs the service can fix it.",
}


def shown(value: Any) -> Any:
    """Return the value of a template's expression as printable text; Jinja escapes it for HTML."""
    return printable(value) if type(value) is str else value


def number(value: int) -> Markup:
    """Return the number in groups of three digits."""
    return _THIN_SPACE.join(f"{value:,}".split(","))


def size(value: float) -> str:
    """Return a number of bytes in a decimal unit."""
    for unit in _SIZES:
        if value < 999.5 or unit == _SIZES[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.2g} {unit}"


def duration(seconds: float) -> str:
    """Return a duration in its largest unit."""
    if seconds < 9.5:
        return f"{seconds:.1f} s"
    length, unit = next(each for each in _DURATIONS if seconds >= each[0])
    return f"{seconds / length:.0f} {unit}"


def moment(at: datetime) -> Markup:
    """Return a time that the page's script shows relative to now."""
    instant = at.astimezone(UTC)
    text = instant.strftime("%-d %b %Y, %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(instant.isoformat(timespec="seconds"), text, text)


def name(job: JobReport) -> str:
    """Return what a move is called: its label, or the name of what it moves."""
    sources = _sources(job)
    first = _base_name(sources[0])
    return job.label or (f"{first} and {len(sources) - 1} more" if sources[1:] else first)


def origins(job: JobReport) -> str:
    """Return the hosts, data types or web servers that a move reads from."""
    return ", ".join(dict.fromkeys(map(_origin, _sources(job))))


def sources(job: JobReport) -> list[str]:
    """Return the sources as text."""
    return [_written(each) for each in _sources(job)]


def destination(job: JobReport) -> str:
    """Return host and final path, or the path that was asked for while the final one is not known."""
    return f"{job.destination['host']}:{job.path or job.destination['path']}"


def share(job: JobReport) -> float | None:
    """Return how much of a move has arrived, from 0 to 1; None if that is unknown."""
    if job.status is Status.COMPLETED:
        return 1.0
    if job.bytes_total:
        return min(1.0, job.bytes_done / job.bytes_total)
    return job.files_done / job.files_total if job.files_done and job.files_total else None


def progress(job: JobReport) -> Markup:
    """Return how far a move is, how fast, and how long it still takes."""
    parts = [_amount(job)]
    if job.status is Status.IN_PROGRESS and job.bytes_per_second:
        parts.append(escape(f"{size(job.bytes_per_second)}/s"))
    if job.seconds_left is not None:
        parts.append(escape(f"{duration(job.seconds_left)} left"))
    if job.status is Status.COMPLETED and job.started_at and job.ended_at:
        parts.append(escape(duration((job.ended_at - job.started_at).total_seconds())))
    return Markup(" · ").join(part for part in parts if part)


def now(job: JobReport) -> Markup:
    """Return the state of a move that has not ended, and its progress."""
    known = progress(job)
    return escape(stage(job).capitalize()) + (Markup(": ") + known if known else Markup())


def sentence(text: str) -> Markup:
    """Return a sentence with its `commands` as code."""
    parts = [escape(printable(part)) for part in text.split("`")]
    marked = [Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)]
    return Markup().join(marked) if len(parts) % 2 else escape(printable(text))


def typed(text: str) -> Markup:
    """Return what a person has typed into a field, to be there again as it was."""
    return escape(text)


def stage(job: JobReport) -> str:
    """Return the state of a move in a word or two: the phase, or how it has ended."""
    return (job.phase or job.status).lower().replace("-", " ")


def happened(event: EventReport) -> str:
    """Return an event in words."""
    if event.event is EventKind.PHASE:
        return (event.to_phase or "").capitalize()
    words = _EVENTS[event.event]
    if not event.files:
        return words
    return f"{words}: one file" if event.files == 1 else f"{words}: {event.files:,} files"


def who(who_can_fix: str) -> str:
    """Return the sentence that says who can fix a failure."""
    return _WHO[who_can_fix]


FILTERS: Mapping[str, Callable[[Any], Any]] = {
    each.__name__: each
    for each in (
        number,
        size,
        duration,
        moment,
        name,
        origins,
        sources,
        destination,
        share,
        progress,
        stage,
        now,
        sentence,
        typed,
        happened,
        who,
    )
}


def _amount(job: JobReport) -> Markup:
    if job.files_total > 1 and job.status is Status.COMPLETED:
        return number(job.files_total) + Markup(" files · ") + size(job.bytes_done)
    if job.files_total > 1:
        return number(job.files_done) + Markup(" of ") + number(job.files_total) + Markup(" files")
    if job.bytes_total is None:
        return escape(size(job.bytes_done)) if job.bytes_done else Markup()
    if job.bytes_done in (0, job.bytes_total):
        return escape(size(job.bytes_total))
    return escape(f"{size(job.bytes_done)} of {size(job.bytes_total)}")


def _sources(job: JobReport) -> list[dict[str, str]]:
    return job.source if isinstance(job.source, list) else [job.source]


def _base_name(source: Mapping[str, str]) -> str:
    if "id" in source:
        return f"{source['type']} {source['id']}"
    path = source.get("path") or source.get("url", "")
    if path.endswith("/"):  # a folder, whose own name alone says little
        return "/".join(path.strip("/").split("/")[-2:]) + "/"
    return path.rpartition("/")[2]


def _origin(source: Mapping[str, str]) -> str:
    if "url" in source:
        return source["url"].partition("://")[2].partition("/")[0]
    return source.get("host") or source["type"]


def _written(source: Mapping[str, str]) -> str:
    if "url" in source:
        return without_query(source["url"])
    return f"{source['host']}:{source['path']}" if "host" in source else f"{source['type']}:{source['id']}"
