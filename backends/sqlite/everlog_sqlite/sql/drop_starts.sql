-- Forget the starts of a queue.
DELETE FROM queue_starts
WHERE queue = :queue
