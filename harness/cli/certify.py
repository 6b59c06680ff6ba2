"""Certifies the oracles against Arb balls: run by `nox -s certify`, or `python -m harness.cli.certify`.

Prints one line per suite and tier: rows, entries, the worst error observed in units of the stated bound,
misses. The trap: a suite that cannot be certified is listed, not skipped, since its verdicts rest on less.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.oracle.certification import Certificate

SHOWN_MISSES = 10


@click.command()
@click.option("--suite", "names", multiple=True, help="A suite by name, file or module:NAME; default all.")
@click.option("--share", default=0.01, show_default=True, help="Share of each cell's rows, at least 2 rows.")
@click.option("--seed", default=0, show_default=True, help="Seed of draws and of the rows taken.")
def main(names: tuple[str, ...], share: float, seed: int) -> None:
    """Compares every oracle with Arb balls and exits 1 if an entry lies outside of its stated bound."""
    import torch

    from harness.discovery import Selection, discover
    from harness.errors import HarnessError
    from harness.oracle.certification import certificates

    torch.set_num_threads(1)
    try:
        found = discover(Selection(suites=names))
    except HarnessError as error:
        raise click.ClickException(str(error)) from None
    for sentence in found.broken:
        click.echo(f"note: {sentence}")
    start = time.monotonic()
    results = certificates(found.suites.values(), share=share, seed=seed)
    header = f"{'suite':<36}{'tier':<6}{'bound':>10}{'rows':>8}{'entries':>10}{'worst':>9}{'misses':>8}"
    click.echo(f"{header}  where")
    for result in results:
        click.echo(_line(result))
    _misses(results)
    seconds = time.monotonic() - start
    click.echo(f"worst: largest error in units of the stated bound; {seconds:.0f} s, seed {seed}")
    sys.exit(1 if any(result.misses for result in results) else 0)


def _line(result: Certificate) -> str:
    if result.tier is None:
        return f"{result.suite:<36}uncertified: {result.reason}"
    return (
        f"{result.suite:<36}{result.tier:<6}{result.rounding:>10.2g}{result.rows:>8}{result.entries:>10}"
        f"{result.worst:>9.3f}{len(result.misses):>8}  {result.where}"
    )


def _misses(results: list[Certificate]) -> None:
    for result in results:
        for miss in result.misses[:SHOWN_MISSES]:
            where = f"{result.suite} {result.tier} {miss.cell}: {miss.tensor}{list(miss.place)}"
            click.echo(f"missed: {where} is off by {miss.excess:.3g} bounds")


if __name__ == "__main__":
    main()
