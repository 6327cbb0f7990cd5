-- The tables of Everlog. The log is `events`; everything else says below which kind of row beside the log it holds.

-- One row per workflow. Projections of the log: name, state, seq, bytes, created_at, ended_at.
-- Coordination: token, worker, wake_at, topics, takeovers, build, why; and queue, the last that it was put into.
CREATE TABLE heads (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- names the workflow in the other tables, and no other ever after
    workflow_id TEXT NOT NULL UNIQUE COLLATE BINARY,
    name TEXT NOT NULL COLLATE BINARY,
    state TEXT NOT NULL,
    seq INTEGER NOT NULL,
    bytes INTEGER NOT NULL, -- of all payloads of the history
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    token TEXT,
    worker TEXT,
    wake_at INTEGER,
    topics TEXT NOT NULL DEFAULT '[]', -- a JSON array of those awaited
    takeovers INTEGER NOT NULL DEFAULT 0,
    build TEXT,
    why TEXT,
    queue TEXT COLLATE BINARY,
    CONSTRAINT states_are_known
        CHECK (
            state IN (
                'enqueued', 'queued', 'running', 'waiting', 'paused', 'stuck', 'completed', 'failed', 'cancelled'
            )
        ),
    CONSTRAINT histories_begin_at_seq_1 CHECK (seq >= 1),
    CONSTRAINT only_ended_workflows_have_an_end
        CHECK ((state IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CONSTRAINT ended_workflows_are_unheld CHECK (ended_at IS NULL OR token IS NULL),
    CONSTRAINT a_token_is_held_by_a_worker CHECK ((token IS NULL) = (worker IS NULL)),
    CONSTRAINT takeovers_are_counted_from_0 CHECK (takeovers >= 0)
);

CREATE INDEX heads_ready ON heads (name, created_at) WHERE token IS NULL AND state IN ('queued', 'running');
CREATE INDEX heads_sleeping ON heads (name, wake_at)
    WHERE token IS NULL AND state = 'waiting' AND wake_at IS NOT NULL;
CREATE INDEX heads_stuck ON heads (name, created_at) WHERE token IS NULL AND state = 'stuck';
CREATE INDEX heads_held ON heads (worker) WHERE worker IS NOT NULL;
CREATE INDEX heads_by_age ON heads (created_at, workflow_id);

-- The log: rows are appended, never changed. `position` is the order of appending, which keeps the pages that one
-- commit dirties next to each other; (workflow, seq) is the assertion behind the head's token.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    workflow INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    payload TEXT NOT NULL,
    CONSTRAINT one_history_per_workflow UNIQUE (workflow, seq)
);

-- Coordination: messages that no holder has read yet. Those of ended workflows stay, and are `closed`: nobody waits.
CREATE TABLE inbox (
    row INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, so that "greater than the last I saw" finds all
    workflow INTEGER NOT NULL,
    source TEXT NOT NULL,
    number INTEGER NOT NULL,
    topic TEXT NOT NULL COLLATE BINARY,
    control INTEGER NOT NULL,
    payload TEXT NOT NULL,
    arrived_at INTEGER NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT a_repeated_message_is_one UNIQUE (workflow, source, number)
);

CREATE INDEX inbox_open ON inbox (workflow, topic, control, arrived_at) WHERE closed = 0;

-- Coordination: the keys of all messages that a workflow was ever sent.
CREATE TABLE message_keys (
    workflow INTEGER NOT NULL,
    key TEXT NOT NULL COLLATE BINARY,
    PRIMARY KEY (workflow, key)
) WITHOUT ROWID;

-- Coordination: the workers and their leases.
CREATE TABLE workers (
    worker TEXT PRIMARY KEY NOT NULL COLLATE BINARY,
    process TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) WITHOUT ROWID;
