-- List waits no more.
DELETE FROM waits
WHERE (workflow, seq) IN (
    SELECT json_extract(closed.value, '$[0]'), json_extract(closed.value, '$[1]')
    FROM json_each(:closed) AS closed
)
