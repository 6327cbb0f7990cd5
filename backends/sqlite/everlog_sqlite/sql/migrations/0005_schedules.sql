-- Schedules: what starts workflows again and again.

-- Coordination: one row per schedule. `revision` is a random text of the last writer, on which the next write builds;
-- `due_at` says when the next tick is to be made, and is NULL while none is; the rest is in the payload.
CREATE TABLE schedules (
    name TEXT NOT NULL COLLATE BINARY,
    revision TEXT NOT NULL COLLATE BINARY,
    workflow TEXT NOT NULL COLLATE BINARY, -- the name of the workflow that it starts
    due_at INTEGER,
    payload TEXT NOT NULL,
    CONSTRAINT one_schedule_per_name PRIMARY KEY (name)
);

CREATE INDEX schedules_due ON schedules (workflow, due_at, name) WHERE due_at IS NOT NULL;
