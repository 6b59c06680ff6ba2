"""Decides which recorded logits the suites judge a loss on: six batches out of two real trainings.

Two networks are trained here with cross-entropy: a classifier of handwritten digits (10 classes)
and a byte-level language model of Python source (256 classes). The logits of one fixed batch of
training rows are kept at initialisation, half-way and late, so that a loss meets near-uniform,
ordinary and saturated rows as training makes them.

The trap: a rerun is no check of the shipped files. One machine repeats itself, but the bits may
differ with the torch version and the CPU, and the language model's text is the standard library
of the Python that runs the script. That is why the recordings are shipped.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SCRIPT = "suites/data/record.py"
SEED = 20240
STEPS = 1500
PEAK_LEARNING_RATE = 1e-2
# Half-way then falls on the highest rate, before the fall that makes the late rows confident.
SHARE_OF_STEPS_WITH_RISING_RATE = 0.5

DIGITS_ROWS = 256
DIGITS_BATCH_ROWS = 64
DIGITS_LARGEST_PIXEL = 16.0

BYTES_ROWS = 128
BYTES_BATCH_WINDOWS = 32
BYTES_CONTEXT_BYTES = 128
# Only modules that stay a single file from Python 3.10 on: a package has no one text to read.
BYTES_MODULES = [
    "argparse",
    "ast",
    "bdb",
    "calendar",
    "cmd",
    "code",
    "codecs",
    "configparser",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "difflib",
    "dis",
    "doctest",
    "enum",
    "fileinput",
    "fractions",
    "ftplib",
    "functools",
    "gettext",
    "heapq",
    "inspect",
    "ipaddress",
    "locale",
    "mailbox",
    "optparse",
    "pdb",
    "pickle",
    "platform",
    "pprint",
    "random",
    "shutil",
    "socket",
    "statistics",
    "subprocess",
    "tarfile",
    "textwrap",
    "threading",
    "tokenize",
    "traceback",
    "typing",
    "uuid",
]


@dataclass(frozen=True)
class Training:
    """Holds one network, the batches it learns from and the batch it is recorded on."""

    name: str
    source: str
    shape: str
    network: nn.Module
    draw_batch: Callable[[], tuple[Tensor, Tensor]]
    recorded_inputs: Tensor
    recorded_targets: Tensor


class ByteModel(nn.Module):
    """Predicts each next byte of a window from the bytes before it."""

    def __init__(self) -> None:
        """Builds an embedding, one recurrent layer and a linear read-out."""
        super().__init__()
        self.embedding = nn.Embedding(256, 64)
        self.recurrence = nn.GRU(64, 256, batch_first=True)
        self.readout = nn.Linear(256, 256)

    def forward(self, windows: Tensor) -> Tensor:
        """Returns logits (windows, positions, 256) for bytes (windows, positions)."""
        states, _ = self.recurrence(self.embedding(windows))
        logits: Tensor = self.readout(states)
        return logits


def digits_training() -> Training:
    """Returns the digits classifier, to be recorded on a sample of the rows it learns from."""
    try:
        import sklearn.datasets
    except ImportError as error:
        raise SystemExit("Recording the digits needs scikit-learn: pip install scikit-learn") from error
    torch.manual_seed(SEED)
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    inputs = torch.tensor(pixels, dtype=torch.float32) / DIGITS_LARGEST_PIXEL
    targets = torch.tensor(labels, dtype=torch.int64)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)]
    recorded = torch.randperm(len(targets))[:DIGITS_ROWS]

    def draw_batch() -> tuple[Tensor, Tensor]:
        """Returns images and labels drawn with replacement."""
        rows = torch.randint(len(targets), (DIGITS_BATCH_ROWS,))
        return inputs[rows], targets[rows]

    return Training(
        name="digits",
        source=f"load_digits of scikit-learn {sklearn.__version__}",
        shape="MLP 64-128-128-10 with ReLU",
        network=nn.Sequential(*layers),
        draw_batch=draw_batch,
        recorded_inputs=inputs[recorded],
        recorded_targets=targets[recorded],
    )


def bytes_training() -> Training:
    """Returns the byte model, to be recorded at positions of the text it learns from."""
    folder = Path(os.__file__).parent
    try:
        source = b"".join((folder / f"{name}.py").read_bytes() for name in sorted(BYTES_MODULES))
    except FileNotFoundError as error:
        raise SystemExit(
            f"Recording the bytes needs the standard library's source: {error.filename} is missing"
        ) from error
    torch.manual_seed(SEED)
    text = torch.tensor(list(source), dtype=torch.int64)
    # One byte more than the context, so that a window holds the last position's target too.
    offsets = torch.arange(BYTES_CONTEXT_BYTES + 1)

    def draw_windows(count: int) -> tuple[Tensor, Tensor]:
        """Returns windows that begin anywhere in the text, and the same one byte later."""
        windows = text[torch.randint(len(text) - BYTES_CONTEXT_BYTES, (count, 1)) + offsets]
        return windows[:, :-1], windows[:, 1:]

    recorded_inputs, next_bytes = draw_windows(BYTES_ROWS)
    return Training(
        name="bytes",
        source=f"{len(BYTES_MODULES)} standard library modules of Python " + platform.python_version(),
        shape="byte model: embedding 64, GRU 256, linear 256",
        network=ByteModel(),
        draw_batch=lambda: draw_windows(BYTES_BATCH_WINDOWS),
        recorded_inputs=recorded_inputs,
        recorded_targets=next_bytes[:, -1].contiguous(),
    )


def with_sorted_header(content: bytes) -> bytes:
    """Returns a safetensors file with the keys of its header sorted."""
    # The library writes metadata in a new random order each time, so equal runs would differ.
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":"))
    return content[:8] + header.encode().ljust(end - 8) + content[end:]


def write_recording(training: Training, stage: str, step: int, folder: Path) -> None:
    """Writes the recorded batch as the network sees it now and prints one line about it."""
    target = training.recorded_targets
    with torch.no_grad():
        output: Tensor = training.network(training.recorded_inputs)
    # Of a window only the last position is kept, the one that has seen the whole context.
    logits = output.reshape(len(target), -1, output.shape[-1])[:, -1].contiguous()
    mean_loss_nats = cross_entropy(logits.double(), target).item()
    accuracy = (logits.argmax(dim=1) == target).double().mean().item()
    first, second = logits.double().topk(2, dim=1).values.unbind(dim=1)
    parameter_count = sum(parameter.numel() for parameter in training.network.parameters())
    metadata = {
        "source": training.source,
        "model": f"{training.shape}, {parameter_count} parameters",
        "stage": stage,
        "step": str(step),
        "steps": str(STEPS),
        "mean_loss": f"{mean_loss_nats:.6g}",
        "accuracy": f"{accuracy:.6g}",
        "seed": str(SEED),
        "torch": str(torch.__version__),
        "script": SCRIPT,
    }
    path = folder / f"{training.name}_{stage}.safetensors"
    # The library's own save_file leaves a file that only its owner may read.
    path.write_bytes(with_sorted_header(save({"logits": logits, "target": target}, metadata)))
    print(
        f"{path.name}: {len(logits)} rows, {logits.shape[1]} classes, mean loss"
        f" {mean_loss_nats:.4g} nats, accuracy {accuracy:.3f},"
        f" largest logit gap {(first - second).max().item():.3g}",
        flush=True,
    )


def train_and_record(training: Training, folder: Path) -> None:
    """Trains the network with Adam and writes its recording before, half-way and after."""
    optimizer = torch.optim.Adam(training.network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, STEPS, pct_start=SHARE_OF_STEPS_WITH_RISING_RATE
    )
    write_recording(training, "initial", 0, folder)
    for step in range(1, STEPS + 1):
        inputs, targets = training.draw_batch()
        output: Tensor = training.network(inputs)
        loss = cross_entropy(output.flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step == STEPS // 2:
            write_recording(training, "halfway", step, folder)
    write_recording(training, "late", STEPS, folder)


def main() -> None:
    """Writes the six recordings into the folder asked for."""
    parser = argparse.ArgumentParser(description="Train two small models and record their logits.")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path(__file__).resolve().parent,
        help="folder to write the recordings into (default: the folder of this script)",
    )
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    # Several threads may sum in another order on another machine.
    torch.set_num_threads(1)
    for make_training in (digits_training, bytes_training):
        train_and_record(make_training(), folder)


if __name__ == "__main__":
    main()
