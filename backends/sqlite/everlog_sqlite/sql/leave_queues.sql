-- Take workflows out of their queues.
DELETE FROM queue_places
WHERE workflow IN (SELECT value FROM json_each(:workflows))
