-- Take the tokens of some of what a worker holds; what was running is counted as taken over, but not twice in a row:
-- see retire_worker.
UPDATE everlog.heads
SET
    token = NULL,
    worker = NULL,
    takeovers = heads.takeovers
        + (heads.state = 'running' AND heads.why IS DISTINCT FROM %(worker_died)s)::integer,
    why = CASE WHEN heads.state = 'running' THEN %(worker_died)s ELSE heads.why END
WHERE heads.worker = %(worker)s AND heads.workflow_id = ANY(%(workflow_ids)s)
RETURNING heads.workflow_id
