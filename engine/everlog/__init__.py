"""Everlog makes ordinary Python functions durable: an event log in your own database, replayed exactly."""

from everlog.core.keeping import Retention
from everlog.core.retry import RetryPolicy
from everlog.core.schedules import Schedule
from everlog.errors import (
    AskRefused,
    CorruptLog,
    Duplicate,
    EverlogError,
    IdInUse,
    InternalError,
    InvalidDefinition,
    NotEncodable,
    NotFound,
    PayloadUnavailable,
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
from everlog.replay.definition import Definition
from everlog.replay.definitions import Step, SyncStep, SyncWorkflow, Workflow, step, workflow
from everlog.replay.guards import NondeterminismWarning
from everlog.replay.instances import register
from everlog.replay.logs import log_context
from everlog.replay.named import named
from everlog.replay.options import StepOptions, WorkflowOptions
from everlog.replay.primitives import (
    ask,
    call,
    close_stream,
    compensations,
    connection,
    continue_as_new,
    current,
    emit,
    handle,
    now,
    patched,
    random,
    recv,
    scope,
    send,
    set_value,
    sleep,
    sleep_until,
    start,
    uuid4,
)
from everlog.replay.queues import Queue, RateLimit
from everlog.replay.requests import Request
from everlog.runtime.client import Client
from everlog.runtime.engine import Engine
from everlog.runtime.finding import WorkflowCounts, WorkflowFilters
from everlog.runtime.fork_previews import ForkPreview
from everlog.runtime.handles import Handle
from everlog.runtime.listing import Listing
from everlog.runtime.outbox import Outbox, OutboxQueue
from everlog.runtime.queue_handles import QueueCounts, QueueHandle, QueueStatus
from everlog.runtime.retaining import Hold, Pruned
from everlog.runtime.schedules import ScheduleHandle, ScheduleStatus
from everlog.runtime.status import HistoryEvent, StepCounts, WorkflowStatus
from everlog.runtime.streams import Stream, StreamItem, StreamReset
from everlog.runtime.waits import Wait

__all__ = [
    "AskRefused",
    "Client",
    "CorruptLog",
    "Current",
    "Definition",
    "Duplicate",
    "Engine",
    "EverlogError",
    "ForkPreview",
    "Handle",
    "HistoryEvent",
    "Hold",
    "IdInUse",
    "InternalError",
    "InvalidDefinition",
    "Listing",
    "NondeterminismWarning",
    "NotEncodable",
    "NotFound",
    "Outbox",
    "OutboxQueue",
    "PayloadUnavailable",
    "Pruned",
    "Queue",
    "QueueCounts",
    "QueueHandle",
    "QueueStatus",
    "RateLimit",
    "Request",
    "Retention",
    "RetryPolicy",
    "Schedule",
    "ScheduleHandle",
    "ScheduleStatus",
    "SchemaMismatch",
    "Step",
    "StepCounts",
    "StepFailed",
    "StepInterrupted",
    "StepOptions",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "Stream",
    "StreamItem",
    "StreamReset",
    "SyncStep",
    "SyncWorkflow",
    "UsageError",
    "Wait",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowCounts",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowFilters",
    "WorkflowOptions",
    "WorkflowStatus",
    "WrongContext",
    "ask",
    "call",
    "close_stream",
    "compensations",
    "connection",
    "continue_as_new",
    "current",
    "emit",
    "handle",
    "log_context",
    "named",
    "now",
    "patched",
    "random",
    "recv",
    "register",
    "scope",
    "send",
    "set_value",
    "sleep",
    "sleep_until",
    "start",
    "step",
    "uuid4",
    "workflow",
]
