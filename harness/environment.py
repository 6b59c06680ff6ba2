"""What machine and which versions this was: identity (decides comparability) and context (explains noise).

Identity is what changes bits or speed: CPU and ISA, ATen capability, torch, threads, allocator
settings; context is load and time of day. The trap: this module is imported by the driver, so torch
is touched only inside functions.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from functools import lru_cache
from pathlib import Path

import psutil

TUNABLES = (
    "glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=4294967296:"
    "glibc.malloc.top_pad=268435456"
)


@lru_cache(maxsize=1)
def absent_devices() -> dict[str, str]:
    """Returns the devices that this machine lacks, each with the sentence that says why."""
    import torch

    absent = {}
    if not torch.cuda.is_available():
        absent["cuda"] = "torch.cuda.is_available() is False"
    if not torch.backends.mps.is_available():
        absent["mps"] = "torch.backends.mps.is_available() is False"
    if not torch.xpu.is_available():
        absent["xpu"] = "torch.xpu.is_available() is False"
    return absent


def available_bytes() -> int:
    """Returns the memory that a run may plan with: nine tenths of what is free now."""
    return int(0.9 * psutil.virtual_memory().available)


def cpu_name() -> str:
    """Returns the processor's name as the system states it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision() -> str:
    """Returns the short revision of the working directory, marked when it is dirty; empty outside git."""
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{revision} (dirty)" if changed else revision


def identity() -> dict[str, str | int]:
    """Returns what changes bits or speed; two runs are compared only where it agrees."""
    import torch

    facts: dict[str, str | int] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 0,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "aten_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "glibc_tunables": TUNABLES,
    }
    if torch.cuda.is_available():
        facts["cuda"] = torch.cuda.get_device_name(0)
    return facts


def context() -> dict[str, str | float]:
    """Returns what explains noise: load, free memory, when, and the revision measured."""
    return {
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
        "free_bytes": float(psutil.virtual_memory().available),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": git_revision(),
    }


def cache_directory() -> Path:
    """Returns the user's cache directory of lossgauge, where compiled artefacts are kept."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("lossgauge", appauthor=False))


def worker_environment(threads: int, *, hash_seed: int = 0) -> dict[str, str]:
    """Returns the environment of a worker; it must stand at exec, glibc reads it there."""
    cache = cache_directory()
    settings = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "GLIBC_TUNABLES": TUNABLES,
        "PYTHONHASHSEED": str(hash_seed),
        # 5 still prints USDT lines; 99 silences them.
        "KINETO_LOG_LEVEL": "99",
        "PYTHONUNBUFFERED": "1",
    }
    environment = {**os.environ, **settings}
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
    return environment
