"""`lossgauge init`: a commented lossgauge.toml to start from; every key is read by `run`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import UsageError, writing

TEMPLATE = """\
# lossgauge.toml: read by `lossgauge run` and `lossgauge plan` from the working directory.
# Precedence: flag > LOSSGAUGE_* > this file > [tool.lossgauge] in pyproject.toml > default.

[sweep]                       # a list replaces the profile's values of that axis
profile = "quick"             # quick, full or llm
# suite = ["cross_entropy", "path/to/my_suite.py", "package.module:SUITE"]
# impl = ["native", "package.module:function"]
# variant = ["mean", "sum"]
# regime = ["unit_normal", "confident"]
# dtype = ["float32", "bfloat16", "float16"]
# device = ["cpu", "cuda"]    # an absent device is skipped with its reason, never silently
# batch = [64, 4096]
# classes = [10, 1000]
# threads = [1]
# probe = ["accuracy", "protocol", "overflow", "determinism", "spread", "identity", "memory", "invalid_input"]

# [[sweep.exclude]]           # trials that match every key are left out
# impl = "naive_loop"
# classes = 32000

[measure]
# direction = "both"          # fwd, bwd or both
# min_time = "10ms"           # length of one timed block
# max_noise = "2%"            # half-width of the ratio at which timing a block stops
# budget_time = "10m"         # time that all timing may take
# timeout = "60s"             # time that an implementation may take for one question
# rounds = 16                 # interleaved rounds per process
# processes = 3               # fresh processes that each time every block
# workers = 2                 # parallel workers of the correctness phase
# seed = 0
"""


@click.command("init", short_help="Write a commented lossgauge.toml.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(force: bool) -> None:
    """Write a commented lossgauge.toml into the working directory."""
    path = Path("lossgauge.toml")
    if path.exists() and not force:
        raise UsageError("init: lossgauge.toml is already here; --force overwrites it.")
    with writing(path, "go to a folder that takes files", UsageError):
        path.write_text(TEMPLATE, encoding="utf-8")
    click.echo(f"wrote {path}")
