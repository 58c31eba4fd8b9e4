"""Every record driftloop writes, as frozen dataclasses with an Avro schema each in ``schemas/``.

``RECORDS`` is the closed list. Times are milliseconds since the epoch, event time unless the name
says otherwise.
"""

from driftloop.kernel.records.alerts import (
    Alert,
    AlertKind,
    AlertStatus,
    Evidence,
    Finding,
    Severity,
)
from driftloop.kernel.records.control import (
    Command,
    CommandAction,
    DeadLetter,
    Header,
    ModelRecord,
)
from driftloop.kernel.records.deployments import Deployment, Stage
from driftloop.kernel.records.estimates import Estimate
from driftloop.kernel.records.loads import Load
from driftloop.kernel.records.provenance import OffsetRange
from driftloop.kernel.records.rows import Label, Outcome, Prediction
from driftloop.kernel.records.training import (
    CandidateResult,
    CategoricalProfile,
    LossBaseline,
    NumericProfile,
    Profile,
    Recipe,
    ReferenceCounts,
    Run,
    RunStatus,
    Trigger,
    Variation,
    Version,
)
from driftloop.kernel.records.windows import (
    CategoricalStatistics,
    LossStatistics,
    NumericStatistics,
    PairedStatistics,
    Partial,
    SegmentStatistics,
    Stream,
    Window,
    WindowStatistics,
)

RECORDS = (
    Alert,
    Command,
    DeadLetter,
    Deployment,
    Estimate,
    Label,
    Load,
    ModelRecord,
    Outcome,
    Partial,
    Prediction,
    Run,
    Version,
    Window,
)

__all__ = [
    "RECORDS",
    "Alert",
    "AlertKind",
    "AlertStatus",
    "CandidateResult",
    "CategoricalProfile",
    "CategoricalStatistics",
    "Command",
    "CommandAction",
    "DeadLetter",
    "Deployment",
    "Estimate",
    "Evidence",
    "Finding",
    "Header",
    "Label",
    "Load",
    "LossBaseline",
    "LossStatistics",
    "ModelRecord",
    "NumericProfile",
    "NumericStatistics",
    "OffsetRange",
    "Outcome",
    "PairedStatistics",
    "Partial",
    "Prediction",
    "Profile",
    "Recipe",
    "ReferenceCounts",
    "Run",
    "RunStatus",
    "SegmentStatistics",
    "Severity",
    "Stage",
    "Stream",
    "Trigger",
    "Variation",
    "Version",
    "Window",
    "WindowStatistics",
]
