-- How often these values of attributes occur, counted up to a limit, by name.
SELECT pair.name, occurring.number
FROM unnest(%(names)s, %(values)s) AS pair (name, value)
CROSS JOIN LATERAL (
    SELECT count(*) AS number
    FROM (
        SELECT
        FROM everlog.attributes
        WHERE attributes.name = pair.name AND attributes.value = pair.value
        LIMIT %(limit)s
    ) AS counted
) AS occurring
