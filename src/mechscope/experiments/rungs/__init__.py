"""One family's rungs against each other: ladders of contrasts, conclusions, and the probe off the distribution."""

from mechscope.experiments.rungs.conclusions import STEP_COLUMNS, ContrastRows, conclude
from mechscope.experiments.rungs.ladder import Ladder, LadderScale, settle_ladder, weighted_sums
from mechscope.experiments.rungs.observed import observed_rows
from mechscope.experiments.rungs.paired import VERDICT_COLUMNS, paired_rows
from mechscope.experiments.rungs.probing import probe_lower_rungs
from mechscope.experiments.rungs.rows import ObservedLadder, disagreeing_pairs, observe_ladder

__all__ = [
    "STEP_COLUMNS",
    "VERDICT_COLUMNS",
    "ContrastRows",
    "Ladder",
    "LadderScale",
    "ObservedLadder",
    "conclude",
    "disagreeing_pairs",
    "observe_ladder",
    "observed_rows",
    "paired_rows",
    "probe_lower_rungs",
    "settle_ladder",
    "weighted_sums",
]
