-- Take the holds of these workflows back; gives their ids.
DELETE FROM everlog.holds
WHERE holds.workflow_id = ANY(%(workflow_ids)s)
RETURNING holds.workflow_id
