"""`ascnet doctor`."""

import json
import sys
from dataclasses import asdict

import click

from ascnet.doctor import BROKEN, advice, findings, line


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(as_json: bool) -> None:
    """Report what this machine has and lacks for ascnet, and how to fix problems.

    The exit status is 1 if something that ascnet requires is missing or broken.
    """
    shown = []
    for finding in findings():
        shown.append(finding)
        if not as_json:  # at once, so that it is there if a package crashes Python
            click.echo(line(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in shown], indent=1))
    elif text := advice(shown):
        click.echo(f"\n{text}")
    if any(finding.state == BROKEN for finding in shown):
        sys.exit(1)
