-- Who has these keys of queues: the queue, the key, the workflow and whether it was admitted.
SELECT queue_places.queue, queue_places.dedup_key, queue_places.workflow_id, queue_places.stands = 'admitted'
FROM unnest(%(queues)s, %(keys)s) AS wanted (queue, dedup_key)
INNER JOIN everlog.queue_places
    ON queue_places.queue = wanted.queue AND queue_places.dedup_key = wanted.dedup_key
