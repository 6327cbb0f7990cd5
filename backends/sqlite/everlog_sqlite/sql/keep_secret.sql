-- Keep a secret of the database, unless one of that name was kept before.
INSERT INTO secrets (name, value)
VALUES (:name, :value)
ON CONFLICT (name) DO NOTHING
