-- Forget the starts of a queue.
DELETE FROM everlog.queue_starts
WHERE queue_starts.queue = %(queue)s
