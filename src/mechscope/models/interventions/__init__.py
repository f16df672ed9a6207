"""Ready-made edits: ablations, steering, projections, noise, interchanges and splices.

Each function gives an `Edit` for `model.logits(batch, edits=[...])` and the other ways to run; docs/edits.md lists them
all. `at` says where it acts (see `mechscope.models.positions`), `scope` in which part of a generation.
"""

from mechscope.models.interventions.averages import SiteMean, mean_value
from mechscope.models.interventions.directions import Subspace, add, keep_only, project_out, steer, subspace
from mechscope.models.interventions.noise import noise
from mechscope.models.interventions.resampling import resample
from mechscope.models.interventions.sources import Source
from mechscope.models.interventions.splices import Coder, splice
from mechscope.models.interventions.swaps import swap
from mechscope.models.interventions.values import mean, scale, set_value, zero

__all__ = [
    "Coder",
    "SiteMean",
    "Source",
    "Subspace",
    "add",
    "keep_only",
    "mean",
    "mean_value",
    "noise",
    "project_out",
    "resample",
    "scale",
    "set_value",
    "splice",
    "steer",
    "subspace",
    "swap",
    "zero",
]
