-- A page of schedules in order of their names, as one JSON text.
SELECT json_group_array(json_array(page.name, page.revision, page.workflow, page.due_at, page.payload))
FROM (
    SELECT
        name,
        revision,
        workflow,
        due_at,
        payload
    FROM schedules
    WHERE name > :after AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
    ORDER BY name
    LIMIT :limit
) AS page
