"""Scores events with champion and shadow; hot-swaps versions. Imports no other service."""
