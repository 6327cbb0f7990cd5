-- Those of some workflows that have ended, at the seq that is given if one is, and are not held: in a snapshot that was
-- taken after they were locked.
SELECT heads.workflow_id
FROM unnest(%(workflow_ids)s, %(seqs)s) AS wanted (workflow_id, seq)
INNER JOIN everlog.heads ON heads.workflow_id = wanted.workflow_id
WHERE heads.ended_at IS NOT NULL
    AND heads.seq = coalesce(wanted.seq, heads.seq)
    AND NOT EXISTS (SELECT FROM everlog.holds WHERE holds.workflow_id = heads.workflow_id)
ORDER BY heads.workflow_id
