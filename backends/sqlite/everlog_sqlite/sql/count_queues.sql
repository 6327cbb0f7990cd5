-- For each of these queues: how many are due, how many are delayed, and how many slots are taken.
SELECT json_group_array(
    json_array(
        named.value,
        (
            SELECT count(*)
            FROM queue_places
            WHERE queue = named.value AND stands IN ('due', 'delayed') AND due_at <= :now
        ),
        (
            SELECT count(*)
            FROM queue_places
            WHERE queue = named.value AND stands = 'delayed' AND due_at > :now
        ),
        (SELECT count(*) FROM queue_places WHERE queue = named.value AND stands = 'admitted')
        + (SELECT count(*) FROM queue_slots WHERE queue = named.value)
    )
)
FROM json_each(:names) AS named
