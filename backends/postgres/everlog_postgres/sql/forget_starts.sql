-- Forget the starts of a queue that no window reaches.
DELETE FROM everlog.queue_starts
WHERE queue_starts.queue = %(queue)s AND queue_starts.started_at <= %(before)s
