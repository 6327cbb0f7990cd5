-- Keep a secret in the place of the one of that name.
INSERT INTO everlog.secrets (name, value)
VALUES (%(name)s, %(value)s)
ON CONFLICT (name) DO UPDATE
SET value = excluded.value
