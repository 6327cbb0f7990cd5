-- Forget attributes that are given anew, or taken away, of workflows whose heads have moved in this transaction.
DELETE FROM everlog.attributes
USING (
    SELECT *
    FROM unnest(%(dropped_ids)s, %(dropped_names)s) AS gone (workflow_id, name)
) AS gone
WHERE attributes.workflow_id = gone.workflow_id
    AND attributes.name = gone.name
    AND attributes.workflow_id = ANY(%(dropped_ids)s)
