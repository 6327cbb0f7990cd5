-- List waits no more, of workflows whose heads have moved in this transaction.
DELETE FROM everlog.waits
USING (
    SELECT *
    FROM unnest(%(closed_ids)s, %(closed_seqs)s) AS closed (workflow_id, seq)
) AS closed
WHERE waits.workflow_id = closed.workflow_id
    AND waits.seq = closed.seq
    AND waits.workflow_id = ANY(%(closed_ids)s)
