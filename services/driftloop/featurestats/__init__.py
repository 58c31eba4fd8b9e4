"""Sketches rows into partials and merges partials into windows."""
