-- Create workflows; gives those that were not there.
INSERT INTO everlog.heads (workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at)
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
    %(created_wake_ats)s
) AS new (workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at)
-- In one order for all, so that two who create the same workflows cannot wait for each other.
ORDER BY new.workflow_id
ON CONFLICT (workflow_id) DO NOTHING
RETURNING workflow_id
