-- Forget attributes that are given anew, or taken away.
DELETE FROM attributes
WHERE (workflow_id, name) IN (
    SELECT json_extract(dropped.value, '$[0]'), json_extract(dropped.value, '$[1]')
    FROM json_each(:dropped) AS dropped
)
