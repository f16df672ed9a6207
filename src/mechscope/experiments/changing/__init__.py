"""Interventions: base contexts, legal changes of them, responses, and cells of paired differences."""
