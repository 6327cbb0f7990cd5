-- Which slots a worker has of those named.
SELECT json_group_array(slot)
FROM queue_slots
WHERE worker = :worker AND slot IN (SELECT value FROM json_each(:slots))
