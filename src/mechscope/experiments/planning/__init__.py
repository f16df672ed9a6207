"""The planner: from the records of a feature to the next experiments, each with the number that it rests on."""

from mechscope.experiments.planning.associations import Association, associations
from mechscope.experiments.planning.knowledge import Knowledge, Mover
from mechscope.experiments.planning.planner import FEWEST, MOST, Plan, plan_experiments
from mechscope.experiments.planning.proposals import Proposal
from mechscope.experiments.planning.records import Record, Records, read_records, settings_of

__all__ = [
    "FEWEST",
    "MOST",
    "Association",
    "Knowledge",
    "Mover",
    "Plan",
    "Proposal",
    "Record",
    "Records",
    "associations",
    "plan_experiments",
    "read_records",
    "settings_of",
]
