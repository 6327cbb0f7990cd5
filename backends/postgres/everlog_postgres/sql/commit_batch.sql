-- Write a batch, as arrays with one element per row. Gives a row for each part that did not take effect as it was asked;
-- usually none.
--
-- Each part of the statement sees the database as it was when the statement began; what one part is to know of another
-- comes from its RETURNING. The store splits batches whose parts would have to see more than that (`segments`).
WITH created AS (
    INSERT INTO everlog.heads (
        workflow_id,
        name,
        state,
        seq,
        bytes,
        created_at,
        ended_at,
        token,
        worker,
        wake_at,
        queue
    )
    SELECT *
    FROM unnest(
        %(created_ids)s,
        %(created_names)s,
        %(created_states)s,
        %(created_seqs)s,
        %(created_bytes)s,
        %(created_ats)s,
        %(created_ends)s,
        %(created_tokens)s,
        %(created_workers)s,
        %(created_wake_ats)s,
        %(created_queues)s
    ) AS new (workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at, queue)
    -- In one order for all, so that two who create the same workflows cannot wait for each other.
    ORDER BY new.workflow_id
    ON CONFLICT (workflow_id) DO NOTHING
    RETURNING workflow_id
),

-- The fence. A head that another transaction has locked is passed over, so nobody is waited for. One that another has
-- changed since this statement began is locked and given in its newest version, not in the one that the snapshot shows:
-- so what is compared here is what is moved below, and cannot change in between.
locked AS (
    SELECT
        given.*,
        heads.token IS NOT DISTINCT FROM given.token AND heads.seq = given.seq AS holds,
        heads.ended_at IS NOT NULL AS had_ended,
        heads.state = 'enqueued' AS was_enqueued
    FROM unnest(
        %(ids)s,
        %(tokens)s,
        %(seqs)s,
        %(next_seqs)s,
        %(sizes)s,
        %(forgives)s,
        %(states)s,
        %(ends)s,
        %(frees)s,
        %(wake_ats)s,
        %(first_topics)s,
        %(last_topics)s,
        %(builds)s,
        %(whys)s,
        %(queues)s,
        %(first_seqs)s,
        %(next_names)s
    ) AS given (
        workflow_id,
        token,
        seq,
        next_seq,
        size,
        forgives,
        state,
        ended_at,
        free,
        wake_at,
        first_topic,
        last_topic,
        build,
        why,
        queue,
        first_seq,
        name
    )
    CROSS JOIN everlog.heads
    WHERE heads.workflow_id = given.workflow_id
    FOR NO KEY UPDATE OF heads SKIP LOCKED
),

-- What commits create; `taken` where a workflow of that id is there.
births AS MATERIALIZED (
    SELECT
        new.*,
        EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = new.workflow_id) AS taken
    FROM unnest(
        %(parents)s,
        %(birth_indexes)s,
        %(born_ids)s,
        %(born_names)s,
        %(born_states)s,
        %(born_seqs)s,
        %(born_bytes)s,
        %(born_ats)s,
        %(born_ends)s,
        %(born_tokens)s,
        %(born_workers)s,
        %(born_wake_ats)s,
        %(born_queues)s
    ) AS new (
        parent,
        index,
        workflow_id,
        name,
        state,
        seq,
        bytes,
        created_at,
        ended_at,
        token,
        worker,
        wake_at,
        queue
    )
),

clashing AS MATERIALIZED (
    SELECT parent, min(index) AS index
    FROM births
    WHERE taken
    GROUP BY parent
),

-- Of a destination only its head is looked at, and nothing is locked: `ended` is null where there is no such workflow.
sent AS MATERIALIZED (
    SELECT
        message.*,
        coalesce(
            (
                SELECT heads.ended_at IS NOT NULL
                FROM everlog.heads
                WHERE heads.workflow_id = message.destination
            ),
            (
                SELECT births.ended_at IS NOT NULL
                FROM births
                WHERE births.workflow_id = message.destination AND births.parent = message.sender
            )
        ) AS ended
    FROM unnest(
        %(senders)s,
        %(indexes)s,
        %(destinations)s,
        %(sources)s,
        %(numbers)s,
        %(message_topics)s,
        %(controls)s,
        %(message_payloads)s,
        %(keys)s,
        %(optionals)s,
        %(repeated)s
    ) WITH ORDINALITY AS message (
        sender,
        index,
        destination,
        source,
        number,
        topic,
        control,
        payload,
        key,
        optional,
        repeated,
        place
    )
),

failing AS MATERIALIZED (
    SELECT sender, min(index) AS index
    FROM sent
    WHERE sender IS NOT NULL AND ended IS NOT FALSE AND NOT optional
    GROUP BY sender
),

moved AS (
    UPDATE everlog.heads
    SET
        seq = locked.next_seq,
        bytes = CASE WHEN locked.first_seq IS NULL THEN heads.bytes + locked.size ELSE locked.size END,
        takeovers = CASE WHEN locked.forgives THEN 0 ELSE heads.takeovers END,
        state = locked.state,
        ended_at = locked.ended_at,
        token = CASE WHEN locked.free THEN NULL ELSE heads.token END,
        worker = CASE WHEN locked.free THEN NULL ELSE heads.worker END,
        wake_at = locked.wake_at,
        topics = (%(topics)s)[locked.first_topic::integer:locked.last_topic::integer],
        build = locked.build,
        why = locked.why,
        queue = coalesce(locked.queue, heads.queue),
        first_seq = coalesce(locked.first_seq, heads.first_seq),
        name = coalesce(locked.name, heads.name)
    FROM locked
    WHERE heads.workflow_id = locked.workflow_id
        AND locked.holds
        AND (locked.workflow_id IN (SELECT clashing.parent FROM clashing)) IS FALSE
        AND (locked.workflow_id IN (SELECT failing.sender FROM failing)) IS FALSE
    RETURNING
        heads.workflow_id,
        heads.name,
        heads.created_at,
        heads.ended_at,
        heads.state,
        heads.queue,
        locked.had_ended,
        locked.was_enqueued,
        locked.queue IS NOT NULL AS is_put
),

-- No ON CONFLICT here: if another has created this workflow since the statement began, the whole of it fails and is
-- repeated, and then sees the head.
born AS (
    INSERT INTO everlog.heads (
        workflow_id,
        name,
        state,
        seq,
        bytes,
        created_at,
        ended_at,
        token,
        worker,
        wake_at,
        queue
    )
    SELECT workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at, queue
    FROM births
    WHERE (births.parent IN (SELECT moved.workflow_id FROM moved)) IS TRUE
    ORDER BY births.workflow_id
    RETURNING workflow_id
),

-- From here on everything is joined to the heads that moved, or were created. The odd `IN (...) IS TRUE` keeps the
-- planner from making a join of it, which without statistics would be a nested loop: this is a hash table.
appended AS (
    INSERT INTO everlog.events (workflow_id, seq, type, recorded_at, payload)
    SELECT *
    FROM unnest(
        %(event_ids)s,
        %(event_seqs)s,
        %(event_types)s,
        %(event_times)s,
        %(event_payloads)s
    ) AS event (workflow_id, seq, type, recorded_at, payload)
    WHERE (
            event.workflow_id IN (
                SELECT workflow_id FROM created
                UNION ALL
                SELECT workflow_id FROM born
                UNION ALL
                SELECT workflow_id FROM moved
            )
        ) IS TRUE
),

taken_out AS (
    DELETE FROM everlog.inbox
    USING unnest(%(consumed_ids)s, %(consumed_positions)s) AS consumed (workflow_id, position)
    WHERE inbox.workflow_id = consumed.workflow_id
        AND inbox.position = consumed.position
        AND (consumed.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
    RETURNING inbox.position
),

-- What ended workflows leave unread is kept out of the way of claims, and brought back when they are opened again.
closed AS (
    UPDATE everlog.inbox
    SET closed = moved.ended_at IS NOT NULL
    FROM moved
    WHERE (moved.ended_at IS NOT NULL OR moved.had_ended)
        AND inbox.workflow_id = moved.workflow_id
        AND (inbox.position IN (SELECT unnest(%(consumed_positions)s))) IS FALSE
),

delivered AS (
    INSERT INTO everlog.inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)
    SELECT
        sent.destination,
        sent.source,
        sent.number,
        sent.topic,
        sent.control,
        sent.payload,
        %(now)s,
        (sent.destination IN (SELECT workflow_id FROM moved WHERE ended_at IS NOT NULL)) IS TRUE
    FROM sent
    WHERE sent.ended IS FALSE
        AND NOT sent.repeated
        AND (sent.sender IS NULL OR sent.sender IN (SELECT workflow_id FROM moved))
        AND (
            sent.key IS NULL
            OR NOT EXISTS (
                SELECT
                FROM everlog.message_keys
                WHERE message_keys.workflow_id = sent.destination AND message_keys.key = sent.key
            )
        )
        -- After the deletion: a workflow may send to itself what it has just read.
        AND (SELECT count(*) FROM taken_out) >= 0
    ORDER BY sent.place
    ON CONFLICT (workflow_id, source, number) DO NOTHING
    RETURNING workflow_id, source, number
),

-- No ON CONFLICT here: if another has sent this key since the statement began, the whole of it fails and is repeated,
-- and then sees the key.
remembered AS (
    INSERT INTO everlog.message_keys (workflow_id, key)
    SELECT sent.destination, sent.key
    FROM sent
    WHERE sent.key IS NOT NULL
        AND NOT sent.repeated
        AND ((sent.destination, sent.source, sent.number) IN (SELECT workflow_id, source, number FROM delivered))
        IS TRUE
),

valued AS (
    INSERT INTO everlog.published_values (workflow_id, name, seq, recorded_at, payload)
    SELECT *
    FROM unnest(
        %(value_ids)s,
        %(value_names)s,
        %(value_seqs)s,
        %(value_times)s,
        %(value_payloads)s
    ) AS value (workflow_id, name, seq, recorded_at, payload)
    WHERE (value.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
    ON CONFLICT (workflow_id, name) DO UPDATE
    SET
        seq = excluded.seq,
        recorded_at = excluded.recorded_at,
        payload = excluded.payload
),

-- A row that is there already was written when the answer to the same commit was lost.
emitted AS (
    INSERT INTO everlog.stream_rows (
        workflow_id,
        stream,
        first_offset,
        count,
        kind,
        written_at,
        operation,
        attempt,
        payload
    )
    SELECT *
    FROM unnest(
        %(item_ids)s,
        %(item_streams)s,
        %(item_offsets)s,
        %(item_counts)s,
        %(item_kinds)s,
        %(item_times)s,
        %(item_operations)s,
        %(item_attempts)s,
        %(item_payloads)s
    ) AS item (workflow_id, stream, first_offset, count, kind, written_at, operation, attempt, payload)
    WHERE (item.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
    ON CONFLICT (workflow_id, stream, first_offset) DO NOTHING
),

listed AS (
    INSERT INTO everlog.waits (workflow_id, seq, operation, topic, title, opened_at, due_at, metadata, schema)
    SELECT *
    FROM unnest(
        %(wait_ids)s,
        %(wait_seqs)s,
        %(wait_operations)s,
        %(wait_topics)s,
        %(wait_titles)s,
        %(wait_times)s,
        %(wait_dues)s,
        %(wait_metadata)s,
        %(wait_schemas)s
    ) AS wait (workflow_id, seq, operation, topic, title, opened_at, due_at, metadata, schema)
    WHERE (wait.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
    ON CONFLICT (workflow_id, seq) DO NOTHING
),

unlisted AS (
    DELETE FROM everlog.waits
    USING unnest(%(closed_ids)s, %(closed_seqs)s) AS closed (workflow_id, seq)
    WHERE waits.workflow_id = closed.workflow_id
        AND waits.seq = closed.seq
        AND (closed.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
),

-- An end gives up the place in a queue, and so does who is put into one: it has another then.
left_queue AS (
    DELETE FROM everlog.queue_places
    USING moved
    WHERE moved.queue IS NOT NULL
        AND (moved.ended_at IS NOT NULL OR moved.is_put)
        AND queue_places.workflow_id = moved.workflow_id
    RETURNING queue_places.workflow_id
),

-- Who is enqueued stands where it stood, without a slot. Who no longer is, without having been admitted, is aside.
stood AS (
    UPDATE everlog.queue_places
    SET
        stands = CASE
            WHEN moved.state <> 'enqueued' THEN 'aside'
            WHEN queue_places.due_at <= %(now)s THEN 'due'
            ELSE 'delayed'
        END,
        name = moved.name
    FROM moved
    WHERE moved.queue IS NOT NULL
        AND moved.ended_at IS NULL
        AND NOT moved.is_put
        AND (moved.state = 'enqueued' OR moved.was_enqueued)
        AND queue_places.workflow_id = moved.workflow_id
        AND (moved.state = 'enqueued' OR queue_places.stands <> 'admitted')
),

placed AS MATERIALIZED (
    SELECT place.*
    FROM unnest(
        %(placed_ids)s,
        %(placed_queues)s,
        %(placed_names)s,
        %(placed_partitions)s,
        %(placed_priorities)s,
        %(placed_due_ats)s,
        %(placed_keys)s,
        %(placed_stands)s,
        %(placed_takes)s
    ) WITH ORDINALITY AS place (
        workflow_id,
        queue,
        name,
        partition,
        priority,
        due_at,
        dedup_key,
        stands,
        takes_key,
        position
    )
    WHERE (
            place.workflow_id IN (
                SELECT workflow_id FROM created
                UNION ALL
                SELECT workflow_id FROM born
                UNION ALL
                SELECT workflow_id FROM moved
            )
        ) IS TRUE
),

-- The LIMIT has each looked for by its key.
losers AS MATERIALIZED (
    SELECT keeper.workflow_id
    FROM placed
    CROSS JOIN LATERAL (
        SELECT queue_places.workflow_id
        FROM everlog.queue_places
        WHERE queue_places.queue = placed.queue
            AND queue_places.dedup_key = placed.dedup_key
            AND queue_places.dedup_key IS NOT NULL
        LIMIT 1
    ) AS keeper
    WHERE placed.takes_key
),

-- A key that may be taken is taken from who was admitted, unless that gives it up in this statement. The odd `= ... IS
-- TRUE` keeps the planner from going through all who were admitted.
took_keys AS (
    UPDATE everlog.queue_places
    SET dedup_key = NULL
    FROM losers
    WHERE queue_places.workflow_id = losers.workflow_id
        AND (queue_places.stands = 'admitted') IS TRUE
        AND (queue_places.workflow_id IN (SELECT workflow_id FROM left_queue)) IS FALSE
    RETURNING queue_places.workflow_id
),

-- No ON CONFLICT here: if another has put a workflow with this key into the queue since it was looked for, the whole of
-- it fails and is repeated, and then finds that.
put AS (
    INSERT INTO everlog.queue_places (
        workflow_id,
        queue,
        name,
        partition,
        priority,
        due_at,
        dedup_key,
        stands
    )
    SELECT
        placed.workflow_id,
        placed.queue,
        coalesce(
            placed.name,
            (SELECT heads.name FROM everlog.heads WHERE heads.workflow_id = placed.workflow_id)
        ),
        placed.partition,
        placed.priority,
        placed.due_at,
        placed.dedup_key,
        placed.stands
    FROM placed
    -- After what gives up places and keys.
    WHERE (SELECT count(*) FROM left_queue) >= 0 AND (SELECT count(*) FROM took_keys) >= 0
    ORDER BY placed.position
),

-- Attributes that are given anew, or taken away. From here to `noted` the statement is left out where there are none.
dropped AS (
    DELETE FROM everlog.attributes
    USING unnest(%(dropped_ids)s, %(dropped_names)s) AS gone (workflow_id, name)
    WHERE attributes.workflow_id = gone.workflow_id
        AND attributes.name = gone.name
        AND (gone.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
    RETURNING attributes.name
),

kept AS (
    INSERT INTO everlog.attributes (workflow_id, name, value, place, created_at)
    SELECT
        attribute.workflow_id,
        attribute.name,
        attribute.value,
        attribute.place,
        coalesce(
            attribute.created_at,
            (SELECT moved.created_at FROM moved WHERE moved.workflow_id = attribute.workflow_id)
        )
    FROM unnest(
        %(attribute_ids)s,
        %(attribute_names)s,
        %(attribute_values)s,
        %(attribute_places)s,
        %(attribute_ages)s
    ) AS attribute (workflow_id, name, value, place, created_at)
    WHERE (
            attribute.workflow_id IN (
                SELECT workflow_id FROM created
                UNION ALL
                SELECT workflow_id FROM born
                UNION ALL
                SELECT workflow_id FROM moved
            )
        ) IS TRUE
        -- After the deletion: a value may stay while others of its name come and go.
        AND (SELECT count(*) FROM dropped) >= 0
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM created)
        OR EXISTS (SELECT FROM moved)
        OR EXISTS (SELECT FROM delivered)
)

SELECT 'create' AS part, new.place, 'exists' AS outcome, 0::bigint AS index
FROM unnest(%(created_ids)s) WITH ORDINALITY AS new (workflow_id, place)
WHERE (new.workflow_id IN (SELECT workflow_id FROM created)) IS FALSE
UNION ALL
SELECT
    'commit',
    given.place,
    CASE
        WHEN (given.workflow_id IN (SELECT workflow_id FROM locked WHERE NOT holds)) THEN 'refused'
        WHEN (given.workflow_id IN (SELECT workflow_id FROM locked)) AND EXISTS (
            SELECT
            FROM clashing
            WHERE clashing.parent = given.workflow_id
        ) THEN 'taken'
        WHEN (given.workflow_id IN (SELECT workflow_id FROM locked)) THEN 'undeliverable'
        WHEN EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = given.workflow_id) THEN 'busy'
        ELSE 'refused'
    END,
    coalesce(
        (SELECT clashing.index FROM clashing WHERE clashing.parent = given.workflow_id),
        (SELECT failing.index FROM failing WHERE failing.sender = given.workflow_id),
        0
    )
FROM unnest(%(ids)s) WITH ORDINALITY AS given (workflow_id, place)
WHERE (given.workflow_id IN (SELECT workflow_id FROM moved)) IS FALSE
UNION ALL
SELECT
    'message',
    sent.place,
    CASE
        WHEN sent.sender IS NOT NULL THEN CASE WHEN sent.ended THEN 'ended' ELSE 'unknown' END
        WHEN EXISTS (
            SELECT
            FROM everlog.inbox
            WHERE inbox.workflow_id = sent.destination
                AND inbox.source = sent.source
                AND inbox.number = sent.number
        ) OR EXISTS (
            SELECT
            FROM everlog.message_keys
            WHERE message_keys.workflow_id = sent.destination AND message_keys.key = sent.key
        ) THEN 'duplicate'
        WHEN sent.ended THEN 'ended'
        WHEN sent.ended IS NULL THEN 'unknown'
        ELSE 'duplicate'
    END,
    sent.index
FROM sent
WHERE CASE
        WHEN sent.sender IS NOT NULL THEN sent.ended IS NOT FALSE AND NOT sent.optional
        ELSE ((sent.destination, sent.source, sent.number) IN (SELECT workflow_id, source, number FROM delivered))
        IS FALSE
    END
