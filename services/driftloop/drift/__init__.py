"""Watches windows and raises alerts within a false-alarm budget."""
