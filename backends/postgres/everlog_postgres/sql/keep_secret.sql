-- Keep a secret of the database, unless one of that name was kept before.
INSERT INTO everlog.secrets (name, value)
VALUES (%(name)s, %(value)s)
ON CONFLICT (name) DO NOTHING
