-- Give slots to workflows.
UPDATE queue_places
SET stands = 'admitted'
WHERE workflow IN (SELECT value FROM json_each(:workflows))
