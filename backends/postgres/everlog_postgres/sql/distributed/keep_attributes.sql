-- Keep attributes of workflows whose heads were created or have moved in this transaction.
INSERT INTO everlog.attributes (workflow_id, name, value, place, created_at)
SELECT *
FROM unnest(
    %(attribute_ids)s,
    %(attribute_names)s,
    %(attribute_values)s,
    %(attribute_places)s,
    %(attribute_ages)s
) AS attribute (workflow_id, name, value, place, created_at)
