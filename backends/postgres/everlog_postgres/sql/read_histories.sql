-- Histories, from where each last continued on, of what this claim took, unless there are more bytes than are wanted at once.
-- The tokens say what it took: nobody else has ever had them. A statement of its own, after the one that took: so its
-- snapshot is younger than the tokens, and whatever the holders before wrote is in it.
SELECT
    events.workflow_id,
    events.seq,
    events.type,
    events.recorded_at,
    events.payload
FROM everlog.heads
INNER JOIN everlog.events ON heads.workflow_id = events.workflow_id
WHERE heads.worker = %(worker)s
    AND heads.token = ANY(%(tokens)s)
    AND events.seq >= heads.first_seq
    AND (
        SELECT sum(taken.bytes)
        FROM everlog.heads AS taken
        WHERE taken.worker = %(worker)s AND taken.token = ANY(%(tokens)s)
    ) <= %(max_bytes)s
ORDER BY events.workflow_id, events.seq
