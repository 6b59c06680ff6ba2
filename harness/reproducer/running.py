"""Runs a script in this process, to see whether it shows what it was written for.

A name that a script lacks and a module that it cannot import are its own faults, or the implementation's:
the implementation's where they happen in what was copied from it and its file lacks the name as well. The
trap: dataclasses look their own module up by name, and a script that starts itself in a child needs a file,
so it is a module with a file while it runs.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from harness.probes.settings import settings_kept, stirred
from harness.reproducer.syntax import is_copied

NAME = "lossgauge_reproducer"


@dataclass(frozen=True)
class Ended:
    """How a script ended: `failure` is what it asserted, `raised` what stopped it before that."""

    failure: str | None = None
    raised: str | None = None


def ended(text: str) -> Ended:
    """Runs a script and returns how it ended.

    What the implementation raises on these inputs shows no finding, but whoever runs the script meets
    it, so it is kept; a script that cannot be compiled or imported, or that lacks a name which the file it
    was copied from has, is a fault of ours and is raised.
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
            # Safe, because the text is our own and does nothing that asking the implementation does not:
            # it is made of sources that discovery has loaded and run in this very process, at the user's
            # word (`reproduction.trusted`), and of numbers drawn anew from the seed. Of a stored run it
            # holds names that were looked up in the suite, and words as comments and quoted literals.
            exec(code, module.__dict__)
            module.main()
        except AssertionError as error:
            return Ended(failure=str(error))
        except Exception as error:
            if isinstance(error, NameError | ImportError) and _ours(error, str(path)):
                raise
            return Ended(raised=f"{type(error).__name__}: {error}")
        finally:
            del sys.modules[NAME]
    return Ended()


def _ours(error: NameError | ImportError, path: str) -> bool:
    """Tells whether a name or module is missing by a fault of the script at `path`.

    What happens at its head or in `main` is ours, what happens in software that it imports is not. In
    between stand copied functions: a name of theirs is lost by us if a file with such a function has it.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    code = frame.f_code
    if code.co_filename != path:
        return False
    copied = code.co_qualname.partition(".")[0]
    if copied in ("main", "<module>"):
        return True
    if isinstance(error, ImportError):
        # Only a relative import means something else here than where it was written.
        return "relative import" in str(error)
    homes = [vars(module) for module in list(sys.modules.values()) if is_copied(module)]
    return any(error.name in home for home in homes if copied in home)
