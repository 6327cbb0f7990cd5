-- Create the workflows that commits create. No ON CONFLICT here: if another has created one of them meanwhile, the whole
-- transaction fails and is repeated, and then sees the head.
INSERT INTO everlog.heads (workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at)
SELECT *
FROM unnest(
    %(born_ids)s,
    %(born_names)s,
    %(born_states)s,
    %(born_seqs)s,
    %(born_bytes)s,
    %(born_ats)s,
    %(born_ends)s,
    %(born_tokens)s,
    %(born_workers)s,
    %(born_wake_ats)s
) AS new (workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at)
ORDER BY new.workflow_id
