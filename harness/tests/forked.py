"""The command line in a forked child: a process of its own that need not import torch again.

The child has the working directory, the limits and the exit code of a command that a user starts; what it
starts itself, the workers, are new processes as ever. The trap: a child has only the thread that forked, so
this is for commands that leave computing to their workers.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from harness.cli import main


def lossgauge(folder: Path, *words: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `lossgauge WORDS` in a folder; `limit_bytes` is what a file may grow to, as on a full disk."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads beside a fork; the child ends by _exit and waits for none.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            _become(folder, words, out.fileno(), err.fileno(), limit_bytes)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *texts)


def _become(folder: Path, words: tuple[str, ...], out: int, err: int, limit_bytes: int | None) -> None:
    """Ends the process as the command does."""
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        # Pytest's own streams and its filter of warnings stay with the parent.
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        warnings.resetwarnings()
        os.chdir(folder)
        sys.path[0] = ""
        sys.argv = ["lossgauge", *words]
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        code = int(main(words))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
