-- Make due, in these queues and of these names, who was delayed until now.
UPDATE queue_places
SET stands = 'due'
WHERE queue IN (SELECT value FROM json_each(:queues))
    AND name IN (SELECT value FROM json_each(:names))
    AND stands = 'delayed'
    AND due_at <= :now
