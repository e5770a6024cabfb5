"""Norms of sums of outer products by Gram matrices over time, which never are too small.

    || sum_t g_t a_t' ||^2 = sum_{t,s} (g_t . g_s) (a_t . a_s)

costs L^2 (O + D) instead of L O D products a unit (Goodfellow 2015; Li et al. 2022, "ghost norm"). But terms
of both signs may cancel, and then what rounding adds is not small beside the result. With u the unit
roundoff and gamma_n = n u / (1 - n u), in whatever order the sums are taken (Higham 2002, chapter 3),

    | computed - true | <= gamma_{O + D + 2 L + 2} (sum_t |g_t| |a_t|)^2,

which is added. Units whose norm it would visibly change are left to the caller to compute otherwise.
"""

from __future__ import annotations

import torch

VISIBLE = 0.01
"""Share of a squared norm that the guard may add: the norm is then at most half a per cent too large."""


def gram(x: torch.Tensor) -> torch.Tensor:
    """(N, L, D) to (N, L, L), the products of each step with each."""
    return torch.bmm(x, x.transpose(1, 2))


def squared_norms(left: torch.Tensor, right: torch.Tensor, terms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Upper bounds of squared norms, and where they are visibly too large.

    Args:
        left: (N, L, L) Gram matrices of the g_t.
        right: (N, L, L) those of the a_t.
        terms: O + D, the lengths of a g_t and an a_t together.

    Returns:
        (N,) and (N,) bool.
    """
    steps = left.shape[1]
    roundoff = torch.finfo(left.dtype).eps / 2
    gamma = (terms + 2 * steps + 8) * roundoff
    gamma = gamma / (1 - gamma)
    total = (left * right).sum(dim=2).sum(dim=1)
    own = left.diagonal(dim1=1, dim2=2), right.diagonal(dim1=1, dim2=2)
    guard = gamma * (own[0] * own[1]).sqrt().sum(dim=1).square() + _lost(*own, terms)
    return total.clamp_min(0) + guard, guard > VISIBLE * total


def _lost(left: torch.Tensor, right: torch.Tensor, terms: int) -> torch.Tensor:
    """(N,) most that may have vanished in products below the smallest number there is.

    Each entry of a Gram matrix may lack ``terms`` times that, and is multiplied by at most
    |g_t| |g_s| or |a_t| |a_s|; each product of two may vanish as well.

    Args:
        left: (N, L) the |g_t|^2.
        right: (N, L) the |a_t|^2.
        terms: As in :func:`squared_norms`.
    """
    least = terms * torch.finfo(left.dtype).tiny
    sums = [lengths.clamp_min(least).sqrt().sum(dim=1).square() for lengths in (left, right)]
    return 2 * least * (sums[0] + sums[1] + left.shape[1] ** 2)
