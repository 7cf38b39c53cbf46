"""`data_mover completion`: lets a shell complete the names of commands and options."""

import os
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

PROGRAM = "data_mover"
#: the variable by which a shell asks for what can follow; click derives it from the name of the program
VARIABLE = "_DATA_MOVER_COMPLETE"


@dataclass(frozen=True)
class Shell:
    """A shell: how its script is made and where it is put, and the line that its start file needs, if it has one."""

    completes: type[ShellComplete]
    script: Path
    start_file: Path | None
    line: str


def _bash() -> Shell:
    script = _home("XDG_DATA_HOME", ".local/share") / "data_mover/completion.bash"
    return Shell(BashComplete, script, Path.home() / ".bashrc", f'[ ! -f "{script}" ] || . "{script}"')


def _zsh() -> Shell:
    script = _home("XDG_DATA_HOME", ".local/share") / "data_mover/completion.zsh"
    line = f'[ ! -f "{script}" ] || {{ autoload -Uz compinit; (( $+functions[compdef] )) || compinit; . "{script}"; }}'
    return Shell(ZshComplete, script, _home("ZDOTDIR", ".") / ".zshrc", line)


def _fish() -> Shell:
    return Shell(FishComplete, _home("XDG_CONFIG_HOME", ".config") / "fish/completions/data_mover.fish", None, "")


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}


@click.group()
def completion() -> None:
    """Have a shell complete commands and options."""


@completion.command("show")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def show_script(shell: str) -> None:
    """Print the script for SHELL."""
    click.echo(_script(SHELLS[shell]()))


@completion.command("install")
@click.argument("shell", type=click.Choice(list(SHELLS)), required=False)
def install(shell: str | None) -> None:
    """Install the script for SHELL, or for the shell that $SHELL names, for this user; running it again does no harm.

    bash and zsh get a line in ~/.bashrc or ~/.zshrc; fish finds the script by itself.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise click.UsageError(f"name the shell: data_mover completion install {'|'.join(SHELLS)}")
    chosen = SHELLS[name]()
    try:
        chosen.script.parent.mkdir(parents=True, exist_ok=True)
        chosen.script.write_text(_script(chosen) + "\n", "utf-8")
        if chosen.start_file is not None:
            _append_once(chosen.start_file, chosen.line)
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}") from error
    click.echo(f"Installed {chosen.script}. It counts in every {name} that is started from now on.", err=True)


def _script(shell: Shell) -> str:
    program = click.get_current_context().find_root().command
    return shell.completes(program, {}, PROGRAM, VARIABLE).source()


def _home(variable: str, below_home: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / below_home)


def _append_once(path: Path, line: str) -> None:
    """Append the line to a start file, unless it has it already."""
    text = path.read_text("utf-8") if path.exists() else ""
    if line not in text.splitlines():
        separator = "" if not text or text.endswith("\n") else "\n"
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{separator}{line}\n")
