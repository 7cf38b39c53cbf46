"""The `data_mover` command."""

import os
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click

from data_mover.cli.options import GlobalOptions
from data_mover.domain.errors import ServiceUnavailable

#: the path of each command; its module is imported when it is used, so that every command starts fast
FOR_CALLERS = {
    **{
        name: f"data_mover.cli.moves:{name}"
        for name in ("move", "plan", "show", "watch", "files", "events", "explain", "wait", "cancel", "retry", "types")
    },
    "list": "data_mover.cli.moves:list_",
    "hosts": "data_mover.cli.hosts:hosts",
    "completion": "data_mover.cli.completion:completion",
}
FOR_OPERATORS = {
    "init": "data_mover.cli.init:init",
    "worker": "data_mover.cli.worker:worker",
    "sweep": "data_mover.cli.sweep:sweep",
    "check-config": "data_mover.cli.check_config:check_config",
    "doctor": "data_mover.cli.doctor:doctor",
    "callers": "data_mover.cli.callers:callers",
    "demo": "data_mover.demo.run:demo",
}
COMMANDS = {**FOR_CALLERS, **FOR_OPERATORS}


#: more than any sentence has: click breaks lines by itself
SENTENCE_WIDTH = 200


class Unavailable(click.ClickException):
    """Ends a command whose service or database does not answer."""

    exit_code = 5


class Commands(click.Group):
    """Imports a command when it is used."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ServiceUnavailable as error:
            raise Unavailable(str(error)) from error
        except click.NoSuchOption as error:
            if not any(error.option_name in option.opts for option in self.params):
                raise
            sentence = f"{error.option_name} goes before the command: data_mover {error.option_name} ..."
            raise click.UsageError(sentence, error.ctx) from error

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return resolve_name(COMMANDS[name]) if name in COMMANDS else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of callers and those of operators, each with a sentence."""
        for title, names in ("Commands of callers", FOR_CALLERS), ("Commands of operators", FOR_OPERATORS):
            commands = [(name, self.get_command(context, name)) for name in names]
            rows = [(name, command.get_short_help_str(SENTENCE_WIDTH)) for name, command in commands if command]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=Commands)
@click.option(
    "-c", "--config", "ini", envvar="DATA_MOVER_INI", help="The ini of the deployment; $DATA_MOVER_INI if left out."
)
@click.option("--url", envvar="DATA_MOVER_URL", help="The service that callers ask; $DATA_MOVER_URL if left out.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="The file with the token; else $DATA_MOVER_TOKEN, if any."
)
@click.option("--json", "as_json", is_flag=True, help="Data as JSON, on stdout.")
@click.pass_context
def main(context: click.Context, ini: str | None, url: str | None, token_file: Path | None, as_json: bool) -> None:
    """Move files to registered destinations, and verify that they arrived.

    Callers use --url; operators, on a machine of the service, -c.
    """
    context.color = False if os.environ.get("NO_COLOR") else None
    context.obj = GlobalOptions(ini, url, token_file, as_json)


if __name__ == "__main__":
    main()
