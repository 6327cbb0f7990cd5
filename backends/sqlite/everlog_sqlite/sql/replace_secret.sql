-- Keep a secret in the place of the one of that name.
INSERT INTO secrets (name, value)
VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE
SET value = excluded.value
