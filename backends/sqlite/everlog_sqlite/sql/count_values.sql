-- How often these values of attributes occur, counted up to a limit, by name.
SELECT json_group_array(
    json_array(
        json_extract(pair.value, '$[0]'),
        (
            SELECT count(*)
            FROM (
                SELECT 1
                FROM attributes
                WHERE attributes.name = json_extract(pair.value, '$[0]')
                    AND attributes.value = json_extract(pair.value, '$[1]')
                LIMIT :limit
            )
        )
    )
)
FROM json_each(:pairs) AS pair
