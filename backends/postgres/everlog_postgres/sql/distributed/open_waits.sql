-- List waits of workflows whose heads have moved in this transaction. One that is there already was written when the
-- answer to the same commit was lost.
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
ON CONFLICT (workflow_id, seq) DO NOTHING
