-- What workflows wait for that a person is to answer, and the key that signs the names of these waits.

-- A projection of the log: the waits that are open and have a title, each by the event that opened it.
CREATE TABLE waits (
    workflow INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    operation TEXT NOT NULL,
    topic TEXT NOT NULL COLLATE BINARY,
    title TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    due_at INTEGER,
    metadata TEXT,
    schema TEXT,
    CONSTRAINT one_wait_per_event PRIMARY KEY (workflow, seq)
);

CREATE INDEX waits_by_age ON waits (opened_at);
CREATE INDEX waits_by_topic ON waits (topic, opened_at);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
