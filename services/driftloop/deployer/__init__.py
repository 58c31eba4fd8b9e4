"""Decides what is served: shadow, promotion, guard, roll back."""
