#!/usr/bin/env python3
"""Sets Data Mover up on a machine that has nothing but Python.

python3 bootstrap.py                  makes ./bin/buildout; run it next, it fills bin/
python3 bootstrap.py demo [--once]    starts everything that belongs to Data Mover and moves a file before your eyes
python3 bootstrap.py test [ARGS]      runs every check; ARGS, which begin with a dash, are for pytest
python3 bootstrap.py test lint        runs all checks but the tests
python3 bootstrap.py test unit        runs the tests that need no server, in seconds
python3 bootstrap.py test PATH        runs the tests of a file or folder, and nothing else
python3 bootstrap.py audit            looks for known vulnerabilities of what is pinned, and for committed secrets
python3 bootstrap.py docs             makes a site of docs/, to be read at var/site/index.html

Everything is installed beside this file, in virtual environments, at the versions that versions.cfg pins.
"""

# Written so that a Python that is too old can read it, and say so; hence the types in quotes.

import configparser
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
#: where the project is installed, for the demo and the checks
PROJECT_ENVIRONMENT = PROJECT / ".venv"
#: buildout has one of its own: a package that lies beside it is not given scripts in bin/
BUILDOUT_ENVIRONMENT = PROJECT / ".buildout"
OLDEST_PYTHON = (3, 11)
BUILDERS = ["pip", "setuptools", "wheel", "zc.buildout", "zc.recipe.egg"]
#: so have the programs that audit it: they are no part of the project
AUDIT_ENVIRONMENT = PROJECT / ".audit"
AUDITORS = ["pip-audit", "detect-secrets"]
#: what is scanned for secrets, and by which detectors: passwords of tests are made up, and look like any other
SECRET_SCANS = {
    "secrets": ([":!tests", ":!versions.cfg"], []),
    "keys of tests": (
        ["tests"],
        ["KeywordDetector", "BasicAuthDetector", "Base64HighEntropyString", "HexHighEntropyString"],
    ),
}
#: what looks like a secret and is none: where a secret is, examples, and the hash of a program
NO_SECRETS = [
    "--exclude-secrets",
    "^(env|file):|^TOKEN$|^choose-one$|…|EXAMPLE$",
    "--exclude-lines",
    "SHA256 = |without a password",
]
#: a directory in memory, where the files of unit tests need not wait for a disk
MEMORY = "/dev/shm"
#: makes a site of the documentation; whatever is wrong with a page or a link is an error
SITE_BUILDER = ["sphinx-build", "--fail-on-warning", "--keep-going", "--quiet", "docs"]
SITE = "var/site"
#: what must pass, by name; each a script of the environment with its arguments
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "lint-imports": ["lint-imports"],
    "pytest": ["pytest"],
}


def main(arguments: "list[str]") -> int:
    check_python()
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "":
        return prepare_buildout()
    if command == "demo":
        return run_demo(rest)
    if command == "test":
        return run_checks(rest)
    if command == "audit":
        return run_audit()
    if command == "docs":
        return build_site()
    print(__doc__)
    return 0 if command in ("-h", "--help", "help") else 2


def prepare_buildout() -> int:
    """Leaves a `bin/buildout` that knows this project."""
    if " " in str(PROJECT):
        sys.exit(f"buildout cannot work below a path with spaces ({PROJECT}): move the project to another directory.")
    environment = Environment(BUILDOUT_ENVIRONMENT)
    environment.install("buildout", BUILDERS)
    run_quietly([environment.script("buildout"), "bootstrap"], "buildout could not be prepared")
    print("Ready. Next: ./bin/buildout")
    return 0


def run_demo(arguments: "list[str]") -> int:
    """Becomes the demo; it runs in the directory of the caller."""
    script = environment_for("demo").script("data_mover")
    os.execv(script, [script, "demo", *arguments])  # never returns


def build_site() -> int:
    """Leaves the documentation as a site that loads nothing from elsewhere."""
    script, *options = SITE_BUILDER
    builder = environment_for("docs").script(script)
    built = subprocess.run([builder, *options, SITE], cwd=PROJECT, check=False)
    if built.returncode == 0:
        print(f"Ready. Open {PROJECT / SITE / 'index.html'}")
    return built.returncode


def run_checks(arguments: "list[str]") -> int:
    """Runs the chosen checks, whatever the others say, and sums up."""
    environment = environment_for("test", "docs")
    os.chdir(PROJECT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the tests start hundreds of processes that import the project
    if arguments[:1] == ["unit"] and os.access(MEMORY, os.W_OK):
        os.environ.setdefault("TMPDIR", MEMORY)
    commands = {name: [environment.script(script), *rest] for name, (script, *rest) in chosen_checks(arguments).items()}
    mypy = None
    with ThreadPoolExecutor(1) as beside:
        if {"mypy", "pytest"} <= commands.keys():  # the tests wait more than they work
            mypy = beside.submit(check, commands.pop("mypy"), subprocess.PIPE)
        verdicts = {name: run_check(name, command) for name, command in commands.items()}
    if mypy:
        verdicts["mypy"], output = mypy.result()
        print(f"\n== mypy\n{output}", end="")
    print("\n" + "\n".join(f"{name:14}{verdict}" for name, verdict in verdicts.items()))
    return 0 if all(verdict.startswith("passed") for verdict in verdicts.values()) else 1


def chosen_checks(arguments: "list[str]") -> "dict[str, list[str]]":
    """The checks that the arguments of `test` ask for, each a script of the environment with its arguments."""
    first = arguments[0] if arguments else "-"
    if first == "lint":
        return {name: command for name, command in CHECKS.items() if name != "pytest"}
    if first == "unit":
        return {"pytest": ["pytest", "tests/unit", *arguments[1:]]}
    if not first.startswith("-"):
        return {"pytest": ["pytest", *arguments]}
    return {**CHECKS, "pytest": ["pytest", *arguments]}


def run_check(name: str, command: "list[str]") -> str:
    """The verdict of one check, whose output goes to the terminal."""
    print(f"\n== {name}", flush=True)
    return check(command)[0]


def check(command: "list[str]", output: "int | None" = None) -> "tuple[str, str]":
    """The verdict of a check, and its output if that goes to a pipe."""
    began = time.monotonic()
    result = subprocess.run(command, check=False, stdout=output, stderr=output and subprocess.STDOUT, text=True)
    verdict = "passed" if result.returncode == 0 else f"FAILED with status {result.returncode}"
    return f"{verdict} in {time.monotonic() - began:.1f} s", result.stdout or ""


def run_audit() -> int:
    """Looks for what is wrong with what others have made, and with what should not be here."""
    environment = Environment(AUDIT_ENVIRONMENT)
    environment.install("audit", AUDITORS)
    os.chdir(PROJECT)
    verdicts = {"vulnerabilities": check_vulnerabilities(environment)}
    scan = [environment.script("detect-secrets-hook"), "--no-verify", *NO_SECRETS]
    for name, (paths, unused) in SECRET_SCANS.items():
        found = subprocess.run(["git", "ls-files", *paths], check=True, stdout=subprocess.PIPE, text=True)
        detectors = [option for detector in unused for option in ("--disable-plugin", detector)]
        verdicts[name] = run_check(name, [*scan, *detectors, *found.stdout.split()])
    print("\n" + "\n".join(f"{name:16}{verdict}" for name, verdict in verdicts.items()))
    return 1 if any(verdict.startswith("FAILED") for verdict in verdicts.values()) else 0


def check_vulnerabilities(environment: "Environment") -> str:
    """The verdict about the pinned packages; without an answer of the service that knows of vulnerabilities, none."""
    print("\n== vulnerabilities", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        pins, report = Path(directory, "pins.txt"), Path(directory, "report.json")
        pins.write_text(constraints())
        chosen = ["--requirement", str(pins), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command = [environment.script("pip-audit"), *chosen, "--format", "json", "--output", str(report)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        packages = json.loads(report.read_text())["dependencies"] if report.is_file() else []
    known = [package for package in packages if "vulns" in package]
    for package in known:
        for each in package["vulns"]:
            fixed = ", ".join(each["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    if any(package["vulns"] for package in known):
        return "FAILED"
    return f"passed, {len(known)} packages" if known else "left out: nobody answers who knows of vulnerabilities"


def check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        found, wanted = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, OLDEST_PYTHON))
        sys.exit(f"Data Mover needs Python {wanted} or newer and this is {found}: try python{wanted} bootstrap.py.")
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit("This Python cannot make virtual environments: on Debian or Ubuntu, apt-get install python3-venv.")


class Environment:
    """A virtual environment, made by this program or made anew where another Python or another place had it made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stamp, mark = path / "made-by-bootstrap", digest(sys.version, os.path.realpath(sys.executable), str(path))
        if not is_marked(stamp, mark):
            print(f"Making the virtual environment {path} ...", flush=True)
            python = getattr(sys, "_base_executable", sys.executable)
            run_quietly([python, "-m", "venv", "--clear", str(path)], "The virtual environment cannot be made")
            stamp.write_text(mark)

    def script(self, name: str) -> str:
        return str(self.path / "bin" / name)

    def install(self, name: str, requirements: "list[str]") -> None:
        """Has pip install the requirements, unless it did so before from the same pins."""
        declared = (PROJECT / "pyproject.toml").read_text(), (PROJECT / "versions.cfg").read_text()
        stamp, mark = self.path / f"installed-{name}", digest(*declared, *requirements)
        if not is_marked(stamp, mark):
            print(f"Installing what {name} needs; this takes a minute the first time ...", flush=True)
            self._pip_install(["pip", "setuptools"])  # what builds the project has to be there first
            self._pip_install(requirements)
            stamp.write_text(mark)

    def _pip_install(self, requirements: "list[str]") -> None:
        pins = self.path / "constraints.txt"
        pins.write_text(constraints())
        pip = [self.script("python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        run_quietly(
            [*pip, "install", "--no-user", "--constraint", str(pins), *requirements],
            "The packages cannot be installed; is a package index within reach?",
        )


def environment_for(*extras: str) -> Environment:
    """Where the project is installed, editable, with what the extras ask for."""
    environment = Environment(PROJECT_ENVIRONMENT)
    environment.install(extras[0], ["--no-build-isolation", "--editable", f"{PROJECT}[{','.join(extras)}]"])
    return environment


def constraints() -> str:
    """The pins of versions.cfg as pip reads them."""
    versions = configparser.RawConfigParser()
    versions.read(PROJECT / "versions.cfg", encoding="utf-8")
    return "".join(f"{name}=={version}\n" for name, version in versions["versions"].items())


def run_quietly(command: "list[str]", complaint: str) -> None:
    """Runs a command whose output is worth reading only if it fails, which ends this program with the complaint. On a
    terminal, shows how many packages it has fetched."""
    lines = []
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, PYTHONUNBUFFERED="1"),
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            show_progress(progress_after(lines), began)
    show_progress("", began)
    if process.returncode:
        print("".join(lines), file=sys.stderr)
        sys.exit(complaint)


def progress_after(lines: "list[str]") -> str:
    """What pip is doing, by the lines that it has printed; nothing is known of other commands."""
    collected = [line.split()[1] for line in lines if line.startswith("Collecting ")]
    if lines[-1].startswith("Installing collected packages: "):
        return f"writing {len(lines[-1].split()) - 3} packages"
    return f"{len(collected)} packages, now {collected[-1]}" if collected else ""


def show_progress(words: str, began: float) -> None:
    """Writes over the last line of a terminal; to anything else, nothing."""
    if sys.stdout.isatty():
        print(f"\r\033[K{words and f'  {time.monotonic() - began:.0f} s: {words[:60]}'}", end="", flush=True)


def is_marked(stamp: Path, mark: str) -> bool:
    return stamp.is_file() and stamp.read_text() == mark


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    except OSError as error:
        sys.exit(f"This cannot be done here: {error}.")
