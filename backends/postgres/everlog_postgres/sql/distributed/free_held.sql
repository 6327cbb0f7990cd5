-- Take the tokens of some of what a worker holds; what was running is counted as taken over.
UPDATE everlog.heads
SET
    token = NULL,
    worker = NULL,
    takeovers = heads.takeovers + (heads.state = 'running')::integer
WHERE heads.worker = %(worker)s AND heads.workflow_id = ANY(%(workflow_ids)s)
RETURNING heads.workflow_id
