-- One workflow, if it is not ended and unheld, in the form of find_runnable.
SELECT json_group_array(json_array(created_at, number))
FROM heads
WHERE workflow_id = :workflow_id AND token IS NULL AND ended_at IS NULL
