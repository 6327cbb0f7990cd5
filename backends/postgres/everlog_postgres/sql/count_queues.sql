-- For each of these queues: how many are due, how many are delayed, and how many slots are taken.
SELECT
    named.name,
    (
        SELECT count(*)
        FROM everlog.queue_places
        WHERE queue_places.queue = named.name AND queue_places.stands = 'due'
    ) + (
        SELECT count(*)
        FROM everlog.queue_places
        WHERE queue_places.queue = named.name
            AND queue_places.stands = 'delayed'
            AND queue_places.due_at <= %(now)s
    ),
    (
        SELECT count(*)
        FROM everlog.queue_places
        WHERE queue_places.queue = named.name
            AND queue_places.stands = 'delayed'
            AND queue_places.due_at > %(now)s
    ),
    (
        SELECT count(*)
        FROM everlog.queue_places
        WHERE queue_places.queue = named.name AND queue_places.stands = 'admitted'
    ) + (
        SELECT count(*)
        FROM everlog.queue_slots
        WHERE queue_slots.queue = named.name
    )
FROM unnest(%(names)s) WITH ORDINALITY AS named (name, position)
ORDER BY named.position
