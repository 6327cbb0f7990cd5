-- Have workflows stand where they stood, without a slot, or aside, unless they were admitted.
UPDATE queue_places
SET
    stands = CASE
        WHEN NOT json_extract(moved.value, '$[1]') THEN 'aside'
        WHEN due_at <= :now THEN 'due'
        ELSE 'delayed'
    END,
    name = (SELECT heads.name FROM heads WHERE heads.number = queue_places.workflow)
FROM json_each(:moved) AS moved
WHERE queue_places.workflow = json_extract(moved.value, '$[0]')
    AND (json_extract(moved.value, '$[1]') OR queue_places.stands <> 'admitted')
