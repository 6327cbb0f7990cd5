-- Remember which partition was served last.
UPDATE queues
SET served = :partition
WHERE name = :queue
