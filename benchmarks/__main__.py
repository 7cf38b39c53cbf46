"""Measure what Data Mover takes and brings, and how long the programs take that people use today."""

import click

from benchmarks.folder import folder
from benchmarks.service import service


@click.group(help=__doc__)
def main() -> None:
    pass


main.add_command(folder)
main.add_command(service)

if __name__ == "__main__":
    main()
