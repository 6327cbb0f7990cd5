-- Schedules: what starts workflows again and again.

-- Coordination: one row per schedule. `revision` is a random text of the last writer, on which the next write builds;
-- `due_at` says when the next tick is to be made, and is NULL while none is; the rest is in the payload.
CREATE TABLE everlog.schedules (
    name text COLLATE "C" NOT NULL,
    revision text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL, -- the name of the workflow that it starts
    due_at bigint,
    payload text NOT NULL,
    CONSTRAINT one_schedule_per_name PRIMARY KEY (name)
) WITH (fillfactor = 50);

CREATE INDEX schedules_due ON everlog.schedules (workflow, due_at, name) WHERE due_at IS NOT NULL;
