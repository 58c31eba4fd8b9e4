"""Faust, and what driftloop needs of it: one topic in, a changelog-backed table beside it."""

from driftloop.adapters.faust.app import FaustTable
from driftloop.adapters.faust.work import TableRecord, TableWork, Work

__all__ = ["FaustTable", "TableRecord", "TableWork", "Work"]
