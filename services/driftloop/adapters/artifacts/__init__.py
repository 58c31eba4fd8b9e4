"""Artifacts on a shared directory. Implements ``models.ports.ArtifactStore``."""
