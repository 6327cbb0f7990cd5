-- Forget the starts of a queue that no window reaches.
DELETE FROM queue_starts
WHERE queue = :queue AND started_at <= :before
