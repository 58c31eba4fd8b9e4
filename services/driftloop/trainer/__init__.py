"""Decides when to retrain, trains candidates in limited worker processes, publishes versions."""
