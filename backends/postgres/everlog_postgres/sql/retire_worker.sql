-- Remove a worker, free the slots of its steps, and take the tokens of all that it held; gives how many. What was running is counted as taken over,
-- unless its holder, who came after one that died, has committed nothing: that is told by the reason, which a commit
-- overwrites.
-- It waits for nobody: a head that another transaction has locked keeps its token, and its holder is still listed.
WITH locked AS MATERIALIZED (
    SELECT heads.workflow_id
    FROM everlog.heads
    WHERE heads.worker = %(worker)s
    FOR NO KEY UPDATE OF heads SKIP LOCKED
),

freed AS (
    UPDATE everlog.heads
    SET
        token = NULL,
        worker = NULL,
        takeovers = heads.takeovers
            + (heads.state = 'running' AND heads.why IS DISTINCT FROM %(worker_died)s)::integer,
        why = CASE WHEN heads.state = 'running' THEN %(worker_died)s ELSE heads.why END
    FROM locked
    WHERE heads.workflow_id = locked.workflow_id
    RETURNING heads.workflow_id
),

freed_slots AS (
    DELETE FROM everlog.queue_slots
    WHERE queue_slots.worker = %(worker)s
    RETURNING queue_slots.worker
),

removed AS (
    DELETE FROM everlog.workers
    WHERE workers.worker = %(worker)s
    RETURNING workers.worker
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM freed) OR EXISTS (SELECT FROM freed_slots) OR EXISTS (SELECT FROM removed)
)

SELECT count(*)
FROM freed
