"""Models: run a network, read it at named sites, write at them; every site is checked by measurement at open."""

from mechscope.models.batch import Batch, Capture
from mechscope.models.checks import Check, Verification
from mechscope.models.component_map import ComponentMap, HeadTap, Tap
from mechscope.models.edits import Edit
from mechscope.models.generation import Generation, Sampling
from mechscope.models.gradients import Gradients
from mechscope.models.model import Model
from mechscope.models.opening import shipped_models

__all__ = [
    "Batch",
    "Capture",
    "Check",
    "ComponentMap",
    "Edit",
    "Generation",
    "Gradients",
    "HeadTap",
    "Model",
    "Sampling",
    "Tap",
    "Verification",
    "shipped_models",
]
