"""Scores events in batches with the champion and the shadow; hot-swaps versions. No other service is imported here."""
