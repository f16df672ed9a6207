"""The folder that holds everything, and the subjects it names."""

from mechscope.workspace.subjects import SubjectEntry
from mechscope.workspace.workspaces import WORKSPACE_FILE, Workspace

__all__ = ["WORKSPACE_FILE", "SubjectEntry", "Workspace"]
