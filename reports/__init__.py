"""Reports on a run: a tidy frame, one offline HTML page, a markdown summary, terminal lines.

Nothing here measures; everything is read from a `harness.run.Run`. The trap: pandas and matplotlib
cost more than a second to import, so this package imports nothing until `load` is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load"]


def load(path: Path | str) -> pd.DataFrame:
    """Returns the frame of a run directory, one row per trial; raises RunError for a damaged run.

    A number that is NaN in the frame was either measured as NaN or never measured: its companion
    column `<name>_class` says which ("nan" or "absent").
    """
    from harness.run import load_run
    from reports.frame import frame

    return frame(load_run(Path(path)))
