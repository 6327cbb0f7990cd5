-- Which slots a worker has of those named.
SELECT queue_slots.slot
FROM everlog.queue_slots
WHERE queue_slots.worker = %(worker)s AND queue_slots.slot = ANY(%(slots)s)
