-- When the next unheld waiting workflow of these names is due.
SELECT min((
    SELECT min(wake_at)
    FROM heads
    WHERE name = names.value
        AND token IS NULL
        AND state = 'waiting'
        AND wake_at IS NOT NULL
        AND (:queues IS NULL OR queue IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
))
FROM json_each(:names) AS names
