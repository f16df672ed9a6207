"""Sweeps: many sets of edits of one batch in as few forwards as can be."""

from mechscope.models.sweeps.outputs import Metric
from mechscope.models.sweeps.settings import SweepCost, SweepResult, SweepSettings
from mechscope.models.sweeps.sweep import sweep

__all__ = ["Metric", "SweepCost", "SweepResult", "SweepSettings", "sweep"]
