-- What workflows wait for that a person is to answer, and the key that signs the names of these waits.

-- A projection of the log: the waits that are open and have a title, each by the event that opened it.
CREATE TABLE everlog.waits (
    workflow_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    operation text NOT NULL,
    topic text COLLATE "C" NOT NULL,
    title text NOT NULL,
    opened_at bigint NOT NULL,
    due_at bigint,
    metadata text,
    schema text,
    CONSTRAINT one_wait_per_event PRIMARY KEY (workflow_id, seq)
);

CREATE INDEX waits_by_age ON everlog.waits (opened_at, workflow_id, seq);
CREATE INDEX waits_by_topic ON everlog.waits (topic, opened_at, workflow_id, seq);

CREATE TABLE everlog.secrets (
    name text COLLATE "C" NOT NULL,
    value text NOT NULL,
    CONSTRAINT one_secret_per_name PRIMARY KEY (name)
);
