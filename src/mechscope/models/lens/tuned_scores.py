"""A tuned lens held against the logit lens on rows that neither saw.

For each row r: the sum s_r of KL(output || lens) over its n_r readings. The score is m = sum s_r / sum n_r, its
variance sum (s_r - m n_r)^2 R / ((R - 1) (sum n_r)^2), the linearised variance of a ratio with rows as clusters
(Cochran 1977, "Sampling Techniques", section 2.11), and the interval m +- t_{R-1} standard errors. Readings of one
row hang together, so rows, not readings, are what is counted as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from scipy.special import stdtrit
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.lens.logit_lens import logit_lens, look_through
from mechscope.models.lens.results import LensQuery, LensResult
from mechscope.models.lens.tuned_records import Estimate, SiteScore, TunedLensScores
from mechscope.models.model import Model

__all__ = ["clustered_mean", "score_tuned_lens"]

LEVEL = 0.95
EVERYWHERE = LensQuery(at="all", top_k=0)


def score_tuned_lens(
    model: Model,
    sites: Sequence[LayerComponent],
    translate: Callable[[LayerComponent, Tensor], Tensor],
    train: Sequence[Batch],
    held_out: Sequence[Batch],
) -> TunedLensScores:
    """KL to the output of both lenses at each site. Raises UsageError with fewer than two new held-out rows."""
    known = {key for batch in train for key in _row_keys(batch)}
    keys = [_row_keys(batch) for batch in held_out]
    is_new = torch.tensor([key not in known for batch_keys in keys for key in batch_keys], dtype=torch.bool)
    n_rows = int(is_new.sum())
    if n_rows < 2:
        raise UsageError(
            f"{n_rows} held-out rows that are not among the training rows ({len(is_new) - n_rows} are)",
            expected="at least two, so that a score has an interval",
            todo="hold out more rows, or split the corpus so that no row is on both sides",
        )
    n_readings: list[Tensor] = []
    logit_sums: list[Tensor] = []
    tuned_sums: list[Tensor] = []
    for batch in held_out:
        plain = logit_lens(model, batch, sites, EVERYWHERE)
        tuned = look_through(model, batch, sites, EVERYWHERE, name="tuned lens", translate=translate)
        n_readings.append(torch.bincount(plain.rows.cpu(), minlength=batch.n_rows))
        logit_sums.append(_row_sums(plain, batch.n_rows))
        tuned_sums.append(_row_sums(tuned, batch.n_rows))
    sizes = torch.cat(n_readings)[is_new].double()
    logit, tuned_kl = (torch.cat(parts, dim=1)[:, is_new] for parts in (logit_sums, tuned_sums))
    scores = [
        SiteScore(
            site=site,
            logit=clustered_mean(logit[index], sizes),
            tuned=clustered_mean(tuned_kl[index], sizes),
            difference=clustered_mean(tuned_kl[index] - logit[index], sizes),
        )
        for index, site in enumerate(sites)
    ]
    return TunedLensScores(
        sites=tuple(scores),
        n_rows=n_rows,
        n_readings=int(sizes.sum()),
        n_repeated_rows=len(is_new) - n_rows,
        interval=f"{LEVEL:.0%}, ratio estimator clustered by row, Student's t with {n_rows - 1} degrees of freedom",
    )


def clustered_mean(sums: Float[Tensor, "rows"], sizes: Float[Tensor, "rows"]) -> Estimate:
    """The mean a reading with its interval, from each row's sum and number of readings; at least two rows."""
    n_rows, total = len(sums), float(sizes.sum())
    mean = float(sums.sum()) / total
    variance = float((sums - mean * sizes).square().sum()) * n_rows / (n_rows - 1) / total**2
    reach = float(stdtrit(n_rows - 1, (1 + LEVEL) / 2)) * variance**0.5
    return Estimate(mean=mean, low=mean - reach, high=mean + reach)


def _row_sums(found: LensResult, n_rows: int) -> Float[Tensor, "sites rows"]:
    kl = found.kl_to_output.double().cpu()
    return kl.new_zeros(len(kl), n_rows).index_add(1, found.rows.cpu(), kl)


def _row_keys(batch: Batch) -> list[bytes]:
    """What makes a row the same row: its real tokens and its extra inputs."""
    mask = batch.attention_mask.bool().cpu()
    ids = batch.input_ids.cpu()
    extra = [batch.extra[name].cpu() for name in sorted(batch.extra)]
    keys = []
    for row in range(batch.n_rows):
        parts = [ids[row][mask[row]], *(tensor[row] for tensor in extra)]
        keys.append(b"|".join(part.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes() for part in parts))
    return keys
