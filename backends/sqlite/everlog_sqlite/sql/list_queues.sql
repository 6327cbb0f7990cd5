-- All queues, in order of their names.
SELECT json_group_array(json_array(name, json(limits), json(declared), json(iif(paused, 'true', 'false'))))
FROM (
    SELECT *
    FROM queues
    ORDER BY name
)
