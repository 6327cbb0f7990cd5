-- Queues: who stands in them, and who has a slot. All of it is coordination.

-- `declared` is what code last declared, `limits` what holds, both as JSON; `served` the partition that was served last.
CREATE TABLE queues (
    name TEXT PRIMARY KEY NOT NULL COLLATE BINARY,
    limits TEXT NOT NULL,
    declared TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    served TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- One row for each workflow that was put into a queue and has not ended. Those who are `delayed` or `due` wait to be
-- admitted; the delayed become due when somebody looks for them, so that nobody has to pass over them. Who is `aside`
-- was paused before it was admitted. Who was `admitted` has a slot. `came` tells who came first.
CREATE TABLE queue_places (
    came INTEGER PRIMARY KEY,
    workflow INTEGER NOT NULL,
    queue TEXT NOT NULL COLLATE BINARY,
    name TEXT NOT NULL COLLATE BINARY, -- of the workflow, as in heads
    partition TEXT NOT NULL COLLATE BINARY,
    priority INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    dedup_key TEXT COLLATE BINARY,
    stands TEXT NOT NULL,
    CONSTRAINT a_workflow_has_one_place UNIQUE (workflow),
    CONSTRAINT who_stands_how_is_known CHECK (stands IN ('delayed', 'due', 'aside', 'admitted'))
);

CREATE UNIQUE INDEX places_by_key ON queue_places (queue, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX places_due ON queue_places (queue, name, partition, priority, due_at, came) WHERE stands = 'due';
CREATE INDEX places_delayed ON queue_places (queue, name, due_at) WHERE stands = 'delayed';
CREATE INDEX places_admitted ON queue_places (queue, partition) WHERE stands = 'admitted';
CREATE INDEX places_aside ON queue_places (queue) WHERE stands = 'aside';

-- The slots of steps. Those of workflows are their places.
CREATE TABLE queue_slots (
    worker TEXT NOT NULL COLLATE BINARY,
    slot TEXT NOT NULL COLLATE BINARY,
    queue TEXT NOT NULL COLLATE BINARY,
    partition TEXT NOT NULL COLLATE BINARY,
    CONSTRAINT a_slot_is_taken_once PRIMARY KEY (worker, slot)
) WITHOUT ROWID;

CREATE INDEX slots_by_queue ON queue_slots (queue, partition);

-- When a slot of a queue with a rate was taken, as long as the rate counts it.
CREATE TABLE queue_starts (
    position INTEGER PRIMARY KEY,
    queue TEXT NOT NULL COLLATE BINARY,
    partition TEXT NOT NULL COLLATE BINARY,
    started_at INTEGER NOT NULL
);

CREATE INDEX starts_by_queue ON queue_starts (queue, started_at);
CREATE INDEX starts_by_partition ON queue_starts (queue, partition, started_at);
