"""Runs a script in this process, to see whether it shows what it was written for.

The trap: dataclasses look their own module up by name, and a script that starts itself in a child
needs a file, so it is a module with a file while it runs.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from harness.probes.settings import settings_kept, stirred

NAME = "lossgauge_reproducer"


@dataclass(frozen=True)
class Ended:
    """How a script ended: `failure` is what it asserted, `raised` what stopped it before that."""

    failure: str | None = None
    raised: str | None = None


def ended(text: str) -> Ended:
    """Runs a script and returns how it ended.

    What the implementation raises on these inputs shows no finding, but whoever runs the script meets
    it, so it is kept; a script that cannot be compiled, imported or lacks a name is a fault of ours and
    is raised.
    """
    module = ModuleType(NAME)
    with tempfile.TemporaryDirectory() as folder, settings_kept(), stirred(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "script.py"
        path.write_text(text, encoding="utf-8")
        module.__file__ = str(path)
        sys.modules[NAME] = module
        code = compile(text, str(path), "exec", dont_inherit=True)
        try:
            # The text is our own: copied sources of loaded code and numbers, never text of a run.
            exec(code, module.__dict__)
            module.main()
        except AssertionError as error:
            return Ended(failure=str(error))
        except (NameError, ImportError):
            raise
        except Exception as error:
            return Ended(raised=f"{type(error).__name__}: {error}")
        finally:
            del sys.modules[NAME]
    return Ended()
