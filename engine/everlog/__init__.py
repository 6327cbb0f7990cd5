"""Everlog makes ordinary Python functions durable: an event log in your own database, replayed exactly."""

from everlog.core.retry import RetryPolicy
from everlog.errors import (
    CorruptLog,
    EverlogError,
    IdInUse,
    InternalError,
    InvalidDefinition,
    NotEncodable,
    NotFound,
    SchemaMismatch,
    StepFailed,
    StepInterrupted,
    StepTimeout,
    StoreError,
    StoreUnavailable,
    UsageError,
    WorkflowCancelled,
    WorkflowError,
    WorkflowFailed,
    WrongContext,
)
from everlog.replay.current import Current
from everlog.replay.definitions import (
    Definition,
    Step,
    SyncStep,
    SyncWorkflow,
    Workflow,
    step,
    workflow,
)
from everlog.replay.guards import NondeterminismWarning
from everlog.replay.instances import register
from everlog.replay.named import named
from everlog.replay.options import StepOptions, WorkflowOptions
from everlog.replay.primitives import (
    call,
    compensations,
    current,
    now,
    random,
    recv,
    scope,
    send,
    sleep,
    sleep_until,
    uuid4,
)
from everlog.runtime.client import Client
from everlog.runtime.engine import Engine
from everlog.runtime.handles import Handle
from everlog.runtime.listing import Listing
from everlog.runtime.status import HistoryEvent, WorkflowStatus

__all__ = [
    "Client",
    "CorruptLog",
    "Current",
    "Definition",
    "Engine",
    "EverlogError",
    "Handle",
    "HistoryEvent",
    "IdInUse",
    "InternalError",
    "InvalidDefinition",
    "Listing",
    "NondeterminismWarning",
    "NotEncodable",
    "NotFound",
    "RetryPolicy",
    "SchemaMismatch",
    "Step",
    "StepFailed",
    "StepInterrupted",
    "StepOptions",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "SyncStep",
    "SyncWorkflow",
    "UsageError",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowOptions",
    "WorkflowStatus",
    "WrongContext",
    "call",
    "compensations",
    "current",
    "named",
    "now",
    "random",
    "recv",
    "register",
    "scope",
    "send",
    "sleep",
    "sleep_until",
    "step",
    "uuid4",
    "workflow",
]
