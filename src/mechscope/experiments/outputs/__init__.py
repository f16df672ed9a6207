"""What a feature does to the model's outputs: rows run with it taken out or put in, controls, tests, the weights."""

from mechscope.experiments.outputs.controls import Agreement, agreement_of, control_directions, direct_effect
from mechscope.experiments.outputs.measuring import LOWERED, RAISED, WORDS, OutputMeasurement
from mechscope.experiments.outputs.reader import Method, OutputEffects, OutputReader
from mechscope.experiments.outputs.variables import DecoderOutputVariables

__all__ = [
    "LOWERED",
    "RAISED",
    "WORDS",
    "Agreement",
    "DecoderOutputVariables",
    "Method",
    "OutputEffects",
    "OutputMeasurement",
    "OutputReader",
    "agreement_of",
    "control_directions",
    "direct_effect",
]
