"""InfoNCE with negatives of its own for every query: cross-entropy of cosines over a temperature.

L = logsumexp_k(c_k / T) - c_0 / T with c_k = <q, k_k> / (|q| |k_k|), k_0 the positive key (van den Oord, Li
& Vinyals 2018). With unit vectors u, v_k and g = softmax(c / T) - e_0, dq = sum_k g_k (v_k - c_k u) / (T
|q|) and dk_k = g_k (u - c_k v_k) / (T |k_k|). Three negatives are tensors of their own, (N, D) each; a
batch whose other positives serve as negatives has no row that stands alone. N is the sum of the |terms| as
they stand: products and norms round in every cosine, and 1 / T multiplies that. The traps: a square of an
entry leaves the range before the length does, and next to a key v - c u is what is left of a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Blind, Contract, Implementation, Regime, Sample, Suite, Variant
from harness.oracle.closed_form import ClosedForm
from harness.oracle.softmax import SoftmaxRows, softmax_rows
from harness.sample import Shape
from harness.suite import Shapes
from suites.regimes.pairs import bounded, lengths, normal

Options = Mapping[str, Any]
NEGATIVES = 3
KEYS = ("positive", *(f"negative_{k}" for k in range(NEGATIVES)))
NAMES = ("query", *KEYS)


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns unit vectors (..., D) and lengths (..., 1); a power of two keeps the squares in range."""
    largest = vectors.abs().amax(-1, keepdim=True)
    scale = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - 1)
    scaled = vectors / scale
    root = (scaled * scaled).sum(-1, keepdim=True).sqrt()
    return scaled / root, root * scale


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk: unit query u (R, 1, D) and keys v (R, K, D), their lengths, cosines (R, K, 1).

    `rounded` is what a rounding multiplies in each cosine (R, K, 1), T the temperature.
    """

    query: Tensor
    query_length: Tensor
    keys: Tensor
    key_lengths: Tensor
    cosines: Tensor
    softmax: SoftmaxRows
    temperature: float

    @cached_property
    def slopes(self) -> Tensor:
        """g (R, K, 1): the label's entry is the sum of the others."""
        first = torch.zeros(len(self.cosines), 1, dtype=torch.long)
        found = self.softmax.probabilities.scatter(1, first, -self.softmax.complement_at(first))
        return found.unsqueeze(2)

    @cached_property
    def rounded(self) -> Tensor:
        """Sum |u_i v_i| + 2 |c|: products of a cosine, and the two norms."""
        return (self.query * self.keys).abs().sum(2, keepdim=True) + 2 * self.cosines.abs()

    @cached_property
    def reach(self) -> Tensor:
        """What a rounding multiplies in each logit (R, K, 1)."""
        return (self.rounded + self.cosines.abs()) / self.temperature

    @cached_property
    def slope_sizes(self) -> Tensor:
        """|g| twice, and what a rounding of the logits does to it (R, K, 1)."""
        p = self.softmax.probabilities.unsqueeze(2)
        return 2 * self.slopes.abs() + p * (self.reach + (p * self.reach).sum(1, keepdim=True))


def terms(inputs: Mapping[str, Tensor], options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    u, query_length = unit(inputs["query"].unsqueeze(1))
    v, key_lengths = unit(torch.stack([inputs[name] for name in KEYS], 1))
    cosines = (u * v).sum(2, keepdim=True)
    temperature = float(options["temperature"])
    softmax = softmax_rows(cosines.squeeze(2) / temperature)
    return Terms(u, query_length, v, key_lengths, cosines, softmax, temperature)


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    return t.softmax.loss_at(torch.zeros(len(t.cosines), 1, dtype=torch.long)).squeeze(1)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns the gradients of the query and of every key (R, D)."""
    of_query = (t.slopes * (t.keys - t.cosines * t.query)).sum(1) / (
        t.temperature * t.query_length.squeeze(1)
    )
    of_keys = t.slopes * (t.query - t.cosines * t.keys) / (t.temperature * t.key_lengths)
    return _named(of_query, of_keys)


def _named(of_query: Tensor, of_keys: Tensor) -> dict[str, Tensor]:
    return {"query": of_query, **_by_key(of_keys.unbind(1))}


def sensitivity(t: Terms) -> Tensor:
    """Returns N of the loss: L and what a rounding of each logit does to it (R,)."""
    return row_losses(t) + (t.slopes.abs() * t.reach).sum((1, 2))


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i: the |terms| of each gradient, and what a rounding of cosines and slopes does to them."""
    along = t.cosines.abs() + t.rounded
    of_query = t.slope_sizes * (t.keys.abs() + along * t.query.abs())
    of_keys = t.slope_sizes * (t.query.abs() + along * t.keys.abs())
    return _named(
        of_query.sum(1) / (t.temperature * t.query_length.squeeze(1)),
        of_keys / (t.temperature * t.key_lengths),
    )


def denominator(inputs: Mapping[str, Tensor], options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(inputs["query"].shape[0], dtype=torch.float64)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored row as Arb balls; finite numbers, no zero vector."""
    from flint import arb

    query, *keys = ([arb(v) for v in row[name]] for name in NAMES)
    temperature = arb(float(options["temperature"]))
    u, query_length = _exact_unit(query)
    units = [_exact_unit(key) for key in keys]
    cosines = [sum((a * b for a, b in zip(u, v, strict=True)), arb(0)) for v, _ in units]
    powers = [((c - cosines[0]) / temperature).exp() for c in cosines]
    mass = sum(powers, arb(0))
    slopes = [power / mass for power in powers]
    slopes[0] = -sum(powers[1:], arb(0)) / mass
    of_query = [
        sum((g * (v[i] - c * u[i]) for g, c, (v, _) in zip(slopes, cosines, units, strict=True)), arb(0))
        / (temperature * query_length)
        for i in range(len(query))
    ]
    of_keys = [
        [g * (a - c * b) / (temperature * length) for a, b in zip(u, v, strict=True)]
        for g, c, (v, length) in zip(slopes, cosines, units, strict=True)
    ]
    return sum(powers[1:], arb(0)).log1p(), {"query": of_query, **dict(zip(KEYS, of_keys, strict=True))}


def _exact_unit(vector: list[Any]) -> tuple[list[Any], Any]:
    from flint import arb

    length = sum((v * v for v in vector), arb(0)).sqrt()
    return [v / length for v in vector], length


ORACLE = ClosedForm(
    terms=terms,
    rows=row_losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=8.0,
)


def _sample(*vectors: Tensor) -> Sample:
    query, *keys = vectors
    return Sample(gradients=NAMES, query=query, **_by_key(keys))


def _by_key(keys: Iterable[Tensor]) -> dict[str, Any]:
    return dict(zip(KEYS, keys, strict=True))


def _several(count: int, shape: Shape, generator: torch.Generator) -> list[Tensor]:
    return [normal(shape, generator) for _ in range(count)]


def independent(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Query and keys are standard normal: an untrained encoder."""
    return _sample(*_several(len(NAMES), shape, generator))


def learned(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """The positive is the query moved by 1 to 30 %, negatives are elsewhere: a trained encoder."""
    query, noise, *negatives = _several(len(NAMES), shape, generator)
    return _sample(query, query + lengths(shape.batch, 0.01, 0.3, generator) * noise, *negatives)


def hard(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Negatives next to the query, the positive turned away from it: losses of about 2 / T."""
    query, noise, *moves = _several(len(NAMES), shape, generator)
    return _sample(query, 0.2 * noise - query, *(query + 0.1 * move for move in moves))


def false_negatives(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Every negative is the positive key once more: the loss is log(M + 1) whatever the query is."""
    query, positive = _several(2, shape, generator)
    return _sample(query, *(positive.clone() for _ in KEYS))


def same(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """The positive key is the query itself: a cosine of 1, and no slope towards it."""
    query, *negatives = _several(NEGATIVES + 1, shape, generator)
    return _sample(query, query.clone(), *negatives)


def scaled(shape: Shape, generator: torch.Generator, low: float, high: float) -> Sample:
    """Returns independent vectors of log-uniform lengths: the loss knows directions alone."""
    return _sample(*(lengths(shape.batch, low, high, generator) * bounded(shape, generator) for _ in NAMES))


def no_direction(shape: Shape) -> str | None:
    """Returns why vectors of one entry are not asked: they point one way or the other, and have no slope."""
    return "a vector of one entry has no direction" if shape.classes == 1 else None


def mixed_lengths(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Lengths from 1/64 to 64."""
    return scaled(shape, generator, 1 / 64, 64.0)


def short(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Short vectors, longer than the 1e-12 below which torch's normalize lets go of the direction."""
    shortest = max(256 * finfo.smallest_normal, 2.0**-36)
    return scaled(shape, generator, shortest, 64 * shortest)


def long(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Long vectors, whose squares are no finite numbers."""
    return scaled(shape, generator, finfo.max / 1024, finfo.max / 64)


def by_cosines(query: Tensor, *keys: Tensor, temperature: float = 0.1, reduction: str = "mean") -> Tensor:
    """normalize, inner products over the temperature, then cross_entropy with label 0."""
    units = F.normalize(torch.stack(keys, 1), dim=2)
    logits = (F.normalize(query).unsqueeze(1) * units).sum(2) / temperature
    label = torch.zeros(len(query), dtype=torch.long, device=query.device)
    return F.cross_entropy(logits, label, reduction=reduction)


class _ExactGradient(torch.autograd.Function):
    """Row losses and their gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, temperature: float, *vectors: Tensor) -> Tensor:
        found = terms(dict(zip(NAMES, vectors, strict=True)), {"temperature": temperature})
        ctx.save_for_backward(*(gradients(found)[name] for name in NAMES))
        return row_losses(found)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return None, *(upstream.unsqueeze(1) * gradient for gradient in ctx.saved_tensors)


def exact_gradient(*vectors: Tensor, temperature: float = 0.1, reduction: str = "mean") -> Tensor:
    """Clean control: an autograd.Function with the closed forms in float64, rounded once."""
    losses = _ExactGradient.apply(temperature, *(vector.double() for vector in vectors))
    reduced = losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
    return reduced.to(vectors[0].dtype)


SUITE = Suite(
    name="info_nce",
    formula="L = logsumexp_k(cos(q, k_k) / T) - cos(q, k_0) / T",
    oracle=ORACLE,
    options={"reduction": "mean", "temperature": 0.1},
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("sharp", temperature=0.01),
        Variant("flat", temperature=1.0),
    ),
    regimes=(
        Regime(independent),
        Regime(learned),
        Regime(hard),
        Regime(false_negatives),
        Regime(same),
        Regime(mixed_lengths),
        Regime(short),
        Regime(long),
    ),
    shapes=Shapes(
        usual=Shape(64, 16),
        covering=(Shape(1, 3), Shape(7, 16), Shape(16, 128)),
        timed=(Shape(256, 128),),
        slow_regime="",
    ),
    implementations=(
        Implementation(by_cosines, baseline=True, skip=no_direction),
        Implementation(exact_gradient, control=True, contract=Contract()),
    ),
    blind=(
        Blind(
            "all keys are one: the slopes towards them cancel, what is left is their rounding",
            check="gradient*",
            regime="false_negatives",
        ),
        Blind(
            "a hundredfold cosine may leave a row next to no slope: what it has is the size of its rounding",
            check="gradient*",
            null="0.97 of it",
            variant="sharp",
            regime=("hard", "long"),
        ),
        Blind("next to its key a query has hardly a loss or a slope", regime=("same", "learned")),
    ),
)
