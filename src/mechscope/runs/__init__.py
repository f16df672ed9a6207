"""Runs: one execution with its record."""

from mechscope.runs.environment import describe_environment
from mechscope.runs.records import Run, RunArtifacts

__all__ = ["Run", "RunArtifacts", "describe_environment"]
