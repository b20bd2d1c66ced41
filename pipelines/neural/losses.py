"""Losses of one batch, each a mean over its rows.

B rows, D numbers of an embedding, N negatives of a row, A articles, Z latent numbers. All are worked out
in float32 whatever the precision of the scores.
"""

import torch
from torch import Tensor
from torch.nn import functional


def sampled_softmax(
    positive: Tensor,
    negatives: Tensor,
    positive_log_q: Tensor,
    negative_log_q: Tensor,
    *,
    hits: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Softmax of what was bought against sampled negatives, corrected for the sampling (Bengio and
    Senécal, IEEE TNN 2008).

    Args:
        positive: scores (B,).
        negatives: scores (B x N).
        positive_log_q: log of the chance that a draw is the positive (B,).
        negative_log_q: the same of the negatives (B x N or N).
        hits: negatives that are in truth the positive (B x N), which do not count.
        weights: of the rows (B,); all equal if None.
    """
    against = negatives.float() - negative_log_q.float()  # B x N
    if hits is not None:
        against = against.masked_fill(hits, -torch.inf)
    own = positive.float() - positive_log_q.float()  # B
    lost = torch.logsumexp(torch.cat([own[:, None], against], dim=1), dim=1) - own
    return _mean(lost, weights)


def binary_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    kept: float | Tensor = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross entropy of yes or no where only a share of the negatives was kept.

    Keeping a share s of the negatives divides the odds' denominator by 1/s (He et al., ADKDD 2014; King and
    Zeng, 2001): the loss sees logits - log s, so that sigmoid(logits) is the chance in the whole data.

    Args:
        logits: any shape, the same as `labels`.
        labels: 0 to 1.
        kept: the share of negatives that were kept, above 0 to 1; a tensor if it differs by row.
        weights: of the elements; all equal if None.
    """
    shift = torch.log(torch.as_tensor(kept, dtype=torch.float32, device=logits.device))
    lost = functional.binary_cross_entropy_with_logits(
        logits.float() - shift, labels.float(), reduction="none"
    )
    return _mean(lost, weights)


def multinomial_vae(
    logits: Tensor, bought: Tensor, mean: Tensor, log_variance: Tensor, *, beta: float = 0.2
) -> Tensor:
    """Multinomial likelihood plus beta times the divergence from the prior (Liang et al., WWW 2018).

    Args:
        logits: over all articles (B x A).
        bought: the customer's history, weights of articles (B x A).
        mean: of the posterior (B x Z).
        log_variance: of the posterior (B x Z).
        beta: weight of the divergence; below 1 recommends better.
    """
    likelihood = (functional.log_softmax(logits.float(), dim=1) * bought.float()).sum(dim=1)
    mean, log_variance = mean.float(), log_variance.float()
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
    return (beta * divergence - likelihood).mean()


def listwise_softmax(
    logits: Tensor, labels: Tensor, whose: Tensor, *, weights: Tensor | None = None
) -> Tensor:
    """What came to something should stand out among its customer's rows (ListNet; Cao et al., ICML 2007).

    The mean over customers (and objectives) to whom something came, however much it was.

    Args:
        logits: B x O.
        labels: 1 where it came to it, else 0 (B x O).
        whose: the customer of each row, from 0 (B).
        weights: for how many rows of the customer each stands (B, or B x O where it differs by objective); all
            for one if None.
    """
    logits = logits.float()
    column = whose[:, None].expand_as(logits)
    shape = (int(whose.max()) + 1 if len(whose) else 0, logits.shape[1])
    top = logits.new_full(shape, -torch.inf).scatter_reduce(0, column, logits.detach(), "amax")
    shares = (logits - top[whose]).exp()
    if weights is not None:
        shares = shares * (weights if weights.ndim == 2 else weights[:, None])
    total = logits.new_zeros(shape).scatter_add(0, column, shares)
    # Where no row counts there is nothing that came to anything.
    lost = (total.clamp_min(1e-30).log() + top)[whose] - logits
    came = logits.new_zeros(shape).scatter_add(0, column, labels.float())
    return _mean(lost, labels / came[whose].clamp_min(1))


def _mean(lost: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return lost.mean()
    return (lost * weights).sum() / weights.sum().clamp_min(1e-12)
