-- The numbers and ids of those of some workflows that have ended, at the seq that is given if one is, and are not held.
SELECT heads.number, heads.workflow_id
FROM json_each(:wanted) AS wanted
CROSS JOIN heads ON heads.workflow_id = json_extract(wanted.value, '$[0]')
WHERE heads.ended_at IS NOT NULL
    AND heads.seq = coalesce(json_extract(wanted.value, '$[1]'), heads.seq)
    AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.workflow_id = heads.workflow_id)
ORDER BY heads.workflow_id
