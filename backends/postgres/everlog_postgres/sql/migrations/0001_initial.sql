-- The tables of Everlog. The log is `events`; everything else says below which kind of row beside the log it holds.
-- All but the small tables at the end have the workflow in front of their keys, so that they can be distributed by it.

-- One row per workflow. Projections of the log: name, state, seq, bytes, created_at, ended_at.
-- Coordination: token, worker, wake_at, topics, takeovers, build, why; and queue, the last that it was put into.
-- The usual commit changes no indexed column, and finds room on the row's own page: no index is touched.
CREATE TABLE everlog.heads (
    workflow_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    bytes bigint NOT NULL, -- of all payloads of the history
    created_at bigint NOT NULL,
    ended_at bigint,
    token text COLLATE "C",
    worker text COLLATE "C",
    wake_at bigint,
    topics text[] COLLATE "C" NOT NULL DEFAULT '{}',
    takeovers integer NOT NULL DEFAULT 0,
    build text,
    why text,
    queue text COLLATE "C",
    CONSTRAINT one_head_per_workflow PRIMARY KEY (workflow_id),
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
) WITH (fillfactor = 50);

CREATE INDEX heads_ready ON everlog.heads (name, created_at, workflow_id)
    WHERE token IS NULL AND state IN ('queued', 'running');
CREATE INDEX heads_sleeping ON everlog.heads (name, wake_at, workflow_id)
    WHERE token IS NULL AND state = 'waiting' AND wake_at IS NOT NULL;
CREATE INDEX heads_stuck ON everlog.heads (name, created_at) WHERE token IS NULL AND state = 'stuck';
CREATE INDEX heads_held ON everlog.heads (worker, token) WHERE worker IS NOT NULL;
CREATE INDEX heads_by_age ON everlog.heads (created_at, workflow_id);

-- The log: rows are appended, never changed. The key is the assertion behind the head's token.
CREATE TABLE everlog.events (
    workflow_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    recorded_at bigint NOT NULL,
    payload text NOT NULL, -- JSON as it was given; a json column would have an opinion about it
    CONSTRAINT one_history_per_workflow PRIMARY KEY (workflow_id, seq)
);

-- Coordination: messages that no holder has read yet. Those of ended workflows stay, and are `closed`: nobody waits.
-- `position` is taken before the sender commits, so it does not tell what became visible last; `sent_in` does.
CREATE TABLE everlog.inbox (
    workflow_id text COLLATE "C" NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    source text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    control boolean NOT NULL,
    payload text NOT NULL,
    arrived_at bigint NOT NULL,
    closed boolean NOT NULL,
    sent_in xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT one_row_per_position PRIMARY KEY (workflow_id, position),
    CONSTRAINT a_repeated_message_is_one UNIQUE (workflow_id, source, number)
);

CREATE INDEX inbox_open ON everlog.inbox (workflow_id, topic, control, arrived_at) WHERE NOT closed;
CREATE INDEX inbox_sent ON everlog.inbox (sent_in) WHERE NOT closed;

-- Coordination: the keys of all messages that a workflow was ever sent.
CREATE TABLE everlog.message_keys (
    workflow_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    CONSTRAINT a_key_is_remembered_once PRIMARY KEY (workflow_id, key)
);

-- Coordination: the workers and their leases.
CREATE TABLE everlog.workers (
    worker text COLLATE "C" NOT NULL PRIMARY KEY,
    process text NOT NULL,
    lease_until bigint NOT NULL
) WITH (fillfactor = 50);

-- Coordination: which transactions wrote something that others may wait for, for a minute; so that looking for news
-- costs nothing when there is none. Rows are only inserted and, long after, deleted: an update in place would leave a
-- chain of dead versions behind while somebody's old snapshot keeps them from being cleared away.
CREATE TABLE everlog.writes (
    written_in xid8 NOT NULL
);

CREATE INDEX writes_in_order ON everlog.writes (written_in);

-- Which migrations this schema has had.
CREATE TABLE everlog.migrations (
    number integer NOT NULL PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
