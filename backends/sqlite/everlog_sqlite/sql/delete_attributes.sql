-- Remove the attributes of workflows.
DELETE FROM attributes
WHERE workflow_id IN (
    SELECT heads.workflow_id
    FROM json_each(:numbers) AS ended
    CROSS JOIN heads ON heads.number = ended.value
)
