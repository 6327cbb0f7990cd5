-- Histories, from where each last continued on, of workflows that this claim took. After the transaction that took them: so each server's snapshot is
-- younger than the tokens, and whatever the holders before wrote is in it.
SELECT
    events.workflow_id,
    events.seq,
    events.type,
    events.recorded_at,
    events.payload
FROM everlog.heads
INNER JOIN everlog.events ON heads.workflow_id = events.workflow_id AND heads.first_seq <= events.seq
WHERE heads.workflow_id = ANY(%(workflow_ids)s)
ORDER BY events.workflow_id, events.seq
