"""Joins predictions with the labels that come later. No other service is imported here."""
