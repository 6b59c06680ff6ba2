"""Cancellation-free float64 formulas of the softmax family, shared by losses of the form q . l.

For a stored row x with a = argmax, d_j = x_j - x_a <= 0, e_j = exp(d_j), S1 = sum_{j!=a} e_j:
l_c = log1p(S1) - d_c (all terms >= 0) is the loss of class c, p_j = e_j / (1 + S1), and a loss with
class coefficients q is L = sum q_c l_c with gradient Q p_c - q_c, Q = sum q. Neither 1 - p nor
logsumexp - x is ever formed (numerics: B0, F). Error: (C + 749) 2^-53 relative at worst, whatever
the order of summation, typically a few 2^-53.

What u multiplies is shift-normalised: F(v) = sum_k p_k |x_k - v| and N = L + sum_c q_c F(x_c) for the
loss, N_i = |g_i| + Q p_i F(x_i) for gradients. F costs a sort; here it is bounded from above in O(C) by
min(sqrt(var + (m - v)^2), |m - x_a| + |x_a - v|) with m = sum p_k x_k (Jensen; triangle inequality),
exact at v = x_a. An upper bound cannot accuse falsely; on unit-normal rows it exceeds F by less than
1.4 (tested). The trap: terms whose coefficient is exactly 0 are dropped, 0 * inf is not NaN here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# exp(-746) is 0 in float64: below this a class has probability 0 and its distance is never used.
DEEPEST = -800.0


@dataclass(frozen=True)
class SoftmaxRows:
    """Shared terms of a chunk of rows; every field is float64.

    `shifted` d (R, C), `probabilities` p (R, C), `others` S1 (R, 1), `largest` a (R, 1),
    `complement` computes 1 - p without cancellation.
    """

    shifted: Tensor
    exponentials: Tensor
    probabilities: Tensor
    others: Tensor
    largest: Tensor

    def class_losses(self) -> Tensor:
        """Returns l_c = logsumexp(x) - x_c for every class (R, C)."""
        return torch.log1p(self.others) - self.shifted

    def loss_at(self, column: Tensor) -> Tensor:
        """Returns l_c at one column per row (R, 1)."""
        return torch.log1p(self.others) - self.shifted.gather(1, column)

    def complement_at(self, column: Tensor) -> Tensor:
        """Returns 1 - p_c = sum_{j!=c} p_j at one column per row (R, 1), without cancellation."""
        total = 1 + self.others
        apart = torch.where(column == self.largest, self.others, total - self.exponentials.gather(1, column))
        return apart / total

    def complements(self) -> Tensor:
        """Returns 1 - p for every class (R, C), without cancellation."""
        total = 1 + self.others
        apart = total - self.exponentials
        apart.scatter_(1, self.largest, self.others)
        return apart.div_(total)

    def spread(self) -> tuple[Tensor, Tensor]:
        """Returns m - x_a (<= 0) and the variance of x under p, both (R, 1)."""
        depth = self.shifted.clamp(min=DEEPEST)
        weighted = depth * self.probabilities
        mean = weighted.sum(1, keepdim=True)
        variance = weighted.mul_(depth).sum(1, keepdim=True).sub_(mean * mean).clamp_(min=0)
        return mean, variance

    def distances(self, mean: Tensor, variance: Tensor, shifted: Tensor) -> Tensor:
        """Returns the upper bound of F at values given by their shift from x_a."""
        jensen = (shifted - mean).square_().add_(variance).sqrt_()
        return torch.minimum(jensen, -mean - shifted)


def softmax_rows(logits: Tensor) -> SoftmaxRows:
    """Returns the shared terms of float64 logits (R, C); a row without a finite maximum gives NaN."""
    top, largest = logits.max(1, keepdim=True)
    shifted = logits - top
    exponentials = shifted.exp()
    kept = exponentials.gather(1, largest)
    others = exponentials.scatter_(1, largest, 0.0).sum(1, keepdim=True)
    exponentials.scatter_(1, largest, kept)
    return SoftmaxRows(shifted, exponentials, exponentials / (1 + others), others, largest)
