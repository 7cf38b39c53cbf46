"""Writes what the reference takes from the code into its pages: `.venv/bin/python docs/write_reference.py`.

A page has it between two comments, `<!-- from the code: NAME -->` and `<!-- as far as here -->`; NAME is in `PARTS`.
What a key, an option or a word means is the `#:` comment above it in the code.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.pycode import ModuleAnalyzer

from data_mover.backends import PROTOCOLS
from data_mover.backends import options as options_of_hosts
from data_mover.cli.main import main as command
from data_mover.config import callers
from data_mover.config.registry import Dataset
from data_mover.config.settings import Settings
from data_mover.domain.errors import FAILURES
from data_mover.domain.states import REASONS, Cause, EventKind, FileState, Phase, Status
from data_mover.web import json as json_api
from data_mover.web.parsing import FileFilter, JobFilterModel, Options
from data_mover.web.xmlrpc.methods import METHODS

DOCS = Path(__file__).parent
#: what is written between two comments of a page
PART = re.compile(r"(?<=<!-- from the code: )([\w -]+?)( -->\n).*?(?=<!-- as far as here -->)", re.DOTALL)
OPENAPI = Path(inspect.getfile(json_api)).with_name("openapi.json")
HELP_WIDTH = 100


def main() -> None:
    for path in pages():
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


def pages() -> Iterator[Path]:
    """Every page that takes something from the code."""
    return (path for path in sorted(DOCS.rglob("*.md")) if PART.search(path.read_text(encoding="utf-8")))


def written(page: str) -> str:
    """The page with all parts as the code has them now."""
    return PART.sub(lambda part: f"{part[1]}{part[2]}\n{PARTS[part[1]]()}\n", page)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *(list(row) for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def keys(*models: type[BaseModel], without: Iterable[str] = ()) -> str:
    """A table of the keys that the models have, each once."""
    rows = {name: (name, model, field) for model in models for name, field in model.model_fields.items()}
    return table(
        ["key", "default", "means"],
        (
            [f"`{field.alias or name}`", default(field), meaning(model, name)]
            for name, model, field in rows.values()
            if name not in without
        ),
    )


def meaning(owner: type, name: str) -> str:
    """The comment above the attribute, in the class or in the nearest that it stands on."""
    for each in owner.__mro__:
        if (each.__qualname__, name) in comments(each.__module__):
            return comments(each.__module__)[each.__qualname__, name]
    raise LookupError(f"{owner.__qualname__}.{name} has no #: comment that says what it means")


@cache
def comments(module: str) -> dict[tuple[str, str], str]:
    if module == "builtins":
        return {}
    return {key: " ".join(lines).strip() for key, lines in ModuleAnalyzer.for_module(module).find_attr_docs().items()}


def default(field: FieldInfo) -> str:
    """The default as an operator would write it."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    writers = [WRITTEN[mark.func] for mark in field.metadata if getattr(mark, "func", None) in WRITTEN]
    return f"`{writers[0](value)}`" if writers and value is not None else as_written(value)


def as_written(value: Any) -> str:
    if isinstance(value, re.Pattern):
        return f"`{value.pattern}`"
    if isinstance(value, frozenset):
        value = [each for each in type(next(iter(value))) if each in value]
    is_empty = value is None or isinstance(value, BaseModel) or value in ((), [], {}, "")
    return "none" if is_empty else f"`{json.dumps(value)}`"


#: defaults that operators write in a unit of their own, by what reads them
WRITTEN: dict[Any, Callable[[Any], str]] = {
    options_of_hosts._file_mode: lambda bits: f'"{bits:04o}"',
    options_of_hosts._bandwidth: lambda rate: f'"{rate / 1000:g}KB/s"',
}


def host_keys(*protocols: str) -> str:
    """The keys that hosts of these protocols have beyond those of every host."""
    models = dict.fromkeys(PROTOCOLS[protocol].options for protocol in protocols)
    return keys(*models, without=options_of_hosts.HostOptions.model_fields)


def words(kind: type[StrEnum]) -> str:
    return table(["word", "means"], ([f"`{each.value}`", meaning(kind, each.name)] for each in kind))


def failures() -> str:
    heads = ["code", "sentence", "a retry can help", "who can fix it"]
    return table(
        heads,
        (
            [f"`{each.code}`", each.sentence(), "yes" if each.retryable else "no", each.who_can_fix]
            for each in FAILURES.values()
        ),
    )


def methods() -> str:
    """The methods, with the verb that a caller needs and the first sentence of what `system.methodHelp` says."""
    return table(
        ["method", "verb", "does"],
        (
            [f"`{signature(name)}`", f"`{method.verb}`" if method.verb else "", summary(method.view)]
            for name, method in METHODS.items()
        ),
    )


def signature(name: str) -> str:
    parameters = list(inspect.signature(METHODS[name].view).parameters.values())[1:]
    return f"{name}({', '.join(parameter.name for parameter in parameters)})"


def summary(view: Callable[..., Any]) -> str:
    """The first sentence without the call that it begins with."""
    sentence = " ".join((view.__doc__ or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) |: ", re.sub(r"^[\w]+\(.*?\) ", "", sentence))[0].rstrip(".")


def requests() -> str:
    document = json.loads(OPENAPI.read_text(encoding="utf-8"))
    base = document["servers"][0]["url"]
    return table(
        ["request", "does", "takes", "answers"],
        (
            [f"`{method.upper()} {base}{path}`", each["summary"], takes(each, document), answers(each, document)]
            for path, operations in document["paths"].items()
            for method, each in operations.items()
        ),
    )


def takes(operation: dict[str, Any], document: dict[str, Any]) -> str:
    named = [f"`{each['name']}`" for each in operation.get("parameters", []) if each["in"] != "path"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return ", ".join(named + [f"`{key}`" for key in resolved(body, document).get("properties", {})])


def answers(operation: dict[str, Any], document: dict[str, Any]) -> str:
    """The status and the object of each answer that is no refusal."""
    good = {status: each for status, each in operation["responses"].items() if status.startswith("2")}
    return ", ".join(f"{status} {answer(each, document)}".strip() for status, each in good.items())


def answer(response: dict[str, Any], document: dict[str, Any]) -> str:
    schema = resolved(response, document).get("content", {}).get("application/json", {}).get("schema", {})
    return f"`{schema['$ref'].rpartition('/')[2]}`" if "$ref" in schema else ""


def objects() -> str:
    """What is in each object that an answer has or is."""
    schemas = json.loads(OPENAPI.read_text(encoding="utf-8"))["components"]["schemas"].items()
    shown = [(name, schema["properties"]) for name, schema in schemas if "properties" in schema]
    return table(["object", "has"], ([f"`{name}`", ", ".join(f"`{key}`" for key in has)] for name, has in shown))


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """What a reference within the document stands for."""
    found: Any = schema
    while "$ref" in found:
        steps, found = found["$ref"].split("/")[1:], document
        for step in steps:
            found = found[step]
    return found


def command_help() -> str:
    return "\n".join(f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in helps(command, "data_mover"))


def helps(each: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """The help of a command and of all below it, each with its name in full."""
    context = click.Context(each, info_name=name.rpartition(" ")[2], parent=parent, terminal_width=HELP_WIDTH)
    yield name, each.get_help(context)
    if isinstance(each, click.Group):
        for below in each.list_commands(context):
            found = each.get_command(context, below)
            if found is not None:
                yield from helps(found, f"{name} {below}", context)


PARTS: dict[str, Callable[[], str]] = {
    "settings": lambda: keys(Settings),
    "keys of every host": lambda: keys(options_of_hosts.HostOptions),
    "keys of sftp and scp hosts": lambda: host_keys("sftp", "scp"),
    "keys of s3 hosts": lambda: host_keys("s3"),
    "keys of webdav hosts": lambda: host_keys("webdav"),
    "keys of web servers": lambda: host_keys("http", "https"),
    "keys of data types": lambda: keys(Dataset),
    "keys of callers": lambda: keys(callers._Entry),
    "keys of tokens": lambda: keys(callers._TokenTable),
    "quotas": lambda: keys(callers._QuotaTable),
    "keys of issuers": lambda: keys(callers._IssuerTable),
    "methods": methods,
    "options": lambda: keys(Options),
    "filter of files": lambda: keys(FileFilter),
    "filter of jobs": lambda: keys(JobFilterModel),
    "requests": requests,
    "objects": objects,
    "failures": failures,
    "what a move can wait for": lambda: table(
        ["code", "sentence"], ([f"`{cause.value}`", sentence] for cause, sentence in REASONS.items())
    ),
    "causes": lambda: words(Cause),
    "events": lambda: words(EventKind),
    "states of files": lambda: words(FileState),
    "status": lambda: words(Status),
    "phases": lambda: words(Phase),
    "help": command_help,
}


if __name__ == "__main__":
    main()
