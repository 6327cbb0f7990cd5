-- Give slots to those who were chosen, and the tokens of who admits, up to a limit; gives them as take_heads does.
-- The head is locked first, then the place, as by a commit. Those that another transaction has locked are
-- passed over, and so is who moved after it was chosen: what is compared here is the newest version.
WITH chosen AS (
    SELECT *
    FROM unnest(%(workflow_ids)s, %(partitions)s) WITH ORDINALITY AS chosen (workflow_id, partition, position)
),

locked AS MATERIALIZED (
    SELECT chosen.*
    FROM chosen
    INNER JOIN everlog.heads ON chosen.workflow_id = heads.workflow_id
    WHERE heads.token IS NULL AND heads.state = 'enqueued'
    ORDER BY chosen.position
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF heads SKIP LOCKED
),

standing AS MATERIALIZED (
    SELECT locked.workflow_id, locked.position
    FROM locked
    INNER JOIN everlog.queue_places ON locked.workflow_id = queue_places.workflow_id
    WHERE queue_places.queue = %(queue)s
        AND queue_places.partition = locked.partition
        AND queue_places.stands = 'due'
    FOR NO KEY UPDATE OF queue_places SKIP LOCKED
),

admitted AS (
    UPDATE everlog.queue_places
    SET stands = 'admitted'
    FROM standing
    WHERE queue_places.workflow_id = standing.workflow_id
    RETURNING queue_places.workflow_id, standing.position
),

placed AS (
    SELECT workflow_id, row_number() OVER (ORDER BY position) AS place
    FROM admitted
)

UPDATE everlog.heads
SET
    state = 'queued',
    token = (%(tokens)s)[placed.place],
    worker = %(worker)s
FROM placed
WHERE heads.workflow_id = placed.workflow_id
RETURNING
    placed.place,
    heads.workflow_id,
    heads.name,
    heads.state,
    heads.seq,
    heads.bytes,
    heads.created_at,
    heads.ended_at,
    heads.token,
    heads.worker,
    heads.wake_at,
    heads.topics,
    heads.takeovers,
    heads.build,
    heads.why,
    heads.queue
