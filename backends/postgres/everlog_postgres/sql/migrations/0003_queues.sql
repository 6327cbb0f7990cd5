-- Queues: who stands in them, and who has a slot. All of it is coordination.

-- `declared` is what code last declared, `limits` what holds, both as JSON; `served` the partition that was served last.
-- Whoever takes slots of a queue that limits them, or has partitions, holds its row.
CREATE TABLE everlog.queues (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    limits text NOT NULL,
    declared text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    served text COLLATE "C" NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

-- One row for each workflow that was put into a queue and has not ended. Those who are `delayed` or `due` wait to be
-- admitted; the delayed become due when somebody looks for them, so that nobody has to pass over them. Who is `aside`
-- was paused before it was admitted. Who was `admitted` has a slot. `came` tells who came first.
-- Whoever changes a row holds the head of its workflow, save who makes it due or takes its key.
CREATE TABLE everlog.queue_places (
    workflow_id text COLLATE "C" NOT NULL,
    came bigint GENERATED ALWAYS AS IDENTITY,
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL, -- of the workflow, as in heads
    partition text COLLATE "C" NOT NULL,
    priority bigint NOT NULL,
    due_at bigint NOT NULL,
    dedup_key text COLLATE "C",
    stands text COLLATE "C" NOT NULL,
    CONSTRAINT one_place_per_workflow PRIMARY KEY (workflow_id),
    CONSTRAINT who_stands_how_is_known CHECK (stands IN ('delayed', 'due', 'aside', 'admitted'))
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX one_place_per_dedup_key ON everlog.queue_places (queue, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX places_due ON everlog.queue_places (queue, name, partition, priority, due_at, came)
    WHERE stands = 'due';
CREATE INDEX places_delayed ON everlog.queue_places (queue, name, due_at) WHERE stands = 'delayed';
CREATE INDEX places_admitted ON everlog.queue_places (queue, partition) WHERE stands = 'admitted';
CREATE INDEX places_aside ON everlog.queue_places (queue) WHERE stands = 'aside';

-- The slots of steps. Those of workflows are their places.
CREATE TABLE everlog.queue_slots (
    worker text COLLATE "C" NOT NULL,
    slot text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    partition text COLLATE "C" NOT NULL,
    CONSTRAINT a_slot_is_taken_once PRIMARY KEY (worker, slot)
);

CREATE INDEX slots_by_queue ON everlog.queue_slots (queue, partition);

-- When a slot of a queue with a rate was taken, as long as the rate counts it.
CREATE TABLE everlog.queue_starts (
    queue text COLLATE "C" NOT NULL,
    partition text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL
);

CREATE INDEX starts_by_queue ON everlog.queue_starts (queue, started_at);
CREATE INDEX starts_by_partition ON everlog.queue_starts (queue, partition, started_at);
