"""The command line: one file per verb, imported when the verb is called.

Data goes to stdout, everything else to stderr. A HarnessError is one sentence and exit code 2; exit
codes: 0 fine, 2 usage or configuration, 3 incomplete, 130 interrupted. The trap: `--help` must
import neither torch nor pandas nor matplotlib, so verbs import what they need inside.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from harness import __version__
from harness.errors import HarnessError, UsageError, suggestion

VERBS = {
    "run": "Measure: sweep the axes, journal every result, write the report.",
    "plan": "Show what a run would measure, without running anything.",
    "list": "List suites, implementations, regimes, variants, dtypes, probes or runs.",
    "report": "Write the report of stored runs again.",
    "show": "Show everything that is stored about one trial.",
    "init": "Write a commented lossgauge.toml.",
}

# What the machine refuses, and no fault of ours: disk, quota, rights, open files.
REFUSED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.EIO}
)


class Verbs(click.Group):
    """Looks a verb's module up by name, so that `--help` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the verbs in the order of a day's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns the command of a verb; an unknown verb raises a usage error with a suggestion."""
        if cmd_name not in VERBS:
            raise click.UsageError(f"There is no verb '{cmd_name}'.{suggestion(cmd_name, VERBS)}", ctx)
        module = importlib.import_module(f"harness.cli.{cmd_name}_verb")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs from their one-line summaries, importing none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lossgauge")
@click.option("-q", "--quiet", is_flag=True, help="Print results only, no progress.")
@click.option("-v", "--verbose", is_flag=True, help="Print every trial as it is measured.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colour; NO_COLOR is honoured.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json", "md", "csv"]),
    default="text",
    help="Form of what list, plan and show print.",
)
@click.pass_context
def lossgauge(ctx: click.Context, quiet: bool, verbose: bool, color: str, layout: str) -> None:
    """Tell the truth about a PyTorch loss: is it right, where does it break, what does it cost.

    Exit codes: 0 fine, 2 usage or configuration, 3 incomplete, 130 interrupted. Do not wrap in make.
    """
    ctx.obj = {"quiet": quiet, "verbose": verbose, "layout": layout}
    ctx.color = {"auto": None, "always": True, "never": False}[color]


def own_packages() -> None:
    """Raises UsageError when another package shadows harness, suites or reports."""
    import importlib.util
    from pathlib import Path

    here = Path(__file__).resolve().parent.parent.parent
    for name in ("harness", "suites", "reports"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if origin is None or origin.parent.parent != here:
            raise UsageError(
                f"the package '{name}' of lossgauge is shadowed by {origin or 'nothing importable'}; "
                "rename that file or folder, or start lossgauge from another directory."
            )


def _before_the_verb(error: click.NoSuchOption) -> str:
    """Says where an option of all verbs stands that was given to one of them; "" for any other option."""
    everywhere = {name for parameter in lossgauge.params for name in parameter.opts}
    if error.ctx is None or error.option_name not in everywhere:
        return ""
    return f"It stands before the verb: lossgauge {error.option_name} {error.ctx.info_name} ..."


def main(arguments: Sequence[str] | None = None) -> Any:
    """Runs the command line; a user's mistake is one sentence on stderr and its exit code."""
    try:
        own_packages()
        return lossgauge(args=arguments, standalone_mode=False) or 0
    except HarnessError as error:
        click.echo(f"lossgauge: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and (place := _before_the_verb(error)):
            click.echo(place, err=True)
        return error.exit_code
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        named = f"{error.filename}: " if error.filename else ""
        click.echo(f"lossgauge: {named}{error.strerror}; mend that and give the command again.", err=True)
        return 3
    except (click.Abort, KeyboardInterrupt):
        click.echo("lossgauge: interrupted", err=True)
        return 130


def entry() -> None:
    """The console script."""
    sys.exit(main())
