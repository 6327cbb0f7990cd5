-- Whether this is a Citus cluster: a dump of one may have been restored on a single server, where everything works too.
SELECT pg_extension.extversion
FROM pg_catalog.pg_extension
WHERE pg_extension.extname = 'citus'
