-- All queues, as they are stored.
SELECT name, limits, declared, paused, served
FROM queues
ORDER BY name
