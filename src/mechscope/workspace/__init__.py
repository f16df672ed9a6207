"""The folder that holds everything, and the subjects it names."""

from mechscope.workspace.opening import open_features, subject_named, subject_part
from mechscope.workspace.subjects import SubjectEntry
from mechscope.workspace.workspaces import WORKSPACE_FILE, Workspace

__all__ = ["WORKSPACE_FILE", "SubjectEntry", "Workspace", "open_features", "subject_named", "subject_part"]
