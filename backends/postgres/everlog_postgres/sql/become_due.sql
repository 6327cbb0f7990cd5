-- Make due, in these queues and of these names, who was delayed until now. Those that another transaction has locked are
-- passed over: whoever looks next finds them.
UPDATE everlog.queue_places
SET stands = 'due'
WHERE queue_places.workflow_id IN (
    SELECT late.workflow_id
    FROM unnest(%(queues)s) AS offered (queue)
    CROSS JOIN unnest(%(names)s) AS named (name)
    CROSS JOIN LATERAL (
        SELECT place.workflow_id
        FROM everlog.queue_places AS place
        WHERE place.queue = offered.queue
            AND place.name = named.name
            AND place.stands = 'delayed'
            AND place.due_at <= %(now)s
        FOR UPDATE SKIP LOCKED
    ) AS late
)
