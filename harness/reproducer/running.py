"""Runs a script in this process, to see whether it shows what it was written for.

The trap: dataclasses look their own module up by name, and a script that starts itself in a child
needs a file, so it is a module with a file while it runs.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

from harness.probes.settings import settings_kept, stirred

NAME = "lossgauge_reproducer"


def failure_of(text: str) -> str | None:
    """Returns the message of the AssertionError that a script fails with, None where it does not.

    What the implementation raises on these inputs is no failure of the script; a script that cannot be
    compiled, imported or lacks a name is a fault of ours and is raised.
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
            return str(error)
        except (NameError, ImportError):
            raise
        except Exception:
            return None
        finally:
            del sys.modules[NAME]
    return None
