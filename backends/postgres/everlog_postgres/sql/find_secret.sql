-- A secret of the database.
SELECT secrets.value
FROM everlog.secrets
WHERE secrets.name = %(name)s
