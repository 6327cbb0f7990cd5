-- Retention: what is kept whatever rules say, and who removed what.

-- Coordination: workflows that nobody removes or writes anew.
CREATE TABLE holds (
    workflow_id TEXT NOT NULL COLLATE BINARY,
    held_at INTEGER NOT NULL,
    held_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT one_hold_per_workflow PRIMARY KEY (workflow_id)
);

-- Coordination: what was done to workflows from outside of their histories, in order; `workflow_ids` is a JSON array.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    done_at INTEGER NOT NULL,
    done_by TEXT NOT NULL,
    action TEXT NOT NULL,
    workflow_ids TEXT NOT NULL,
    said TEXT NOT NULL
);

-- Coordination: who does what one of all does, and until when nobody else begins with it.
CREATE TABLE turns (
    what TEXT NOT NULL COLLATE BINARY,
    holder TEXT NOT NULL,
    held_until INTEGER NOT NULL,
    CONSTRAINT one_turn_of_a_kind PRIMARY KEY (what)
);
