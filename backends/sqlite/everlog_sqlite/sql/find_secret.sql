-- A secret of the database.
SELECT value FROM secrets WHERE name = :name
