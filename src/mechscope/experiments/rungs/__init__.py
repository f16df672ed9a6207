"""One family's rungs against each other: ladders of contrasts, conclusions, and the probe off the distribution."""

from mechscope.experiments.rungs.conclusions import ContrastRows, conclude
from mechscope.experiments.rungs.ladder import Ladder, LadderScale, lowest_values, weighted_sums
from mechscope.experiments.rungs.observed import observed_rows
from mechscope.experiments.rungs.paired import paired_rows
from mechscope.experiments.rungs.probing import probe_lower_rungs

__all__ = [
    "ContrastRows",
    "Ladder",
    "LadderScale",
    "conclude",
    "lowest_values",
    "observed_rows",
    "paired_rows",
    "probe_lower_rungs",
    "weighted_sums",
]
