-- Does the server record statements (pg_stat_statements), and where is what it records?
-- Its settings are known to everybody, other than shared_preload_libraries, and only once it is loaded.
SELECT current_setting('pg_stat_statements.max', true)::int AS most,
       current_setting('pg_stat_statements.track', true) AS track,
       current_setting('compute_query_id') AS query_id,
       quote_ident(schema.nspname) AS schema,
       has_schema_privilege(schema.oid, 'USAGE') AS uses_schema,
       current_database()::text AS database,
       current_setting('block_size')::int AS block_size
FROM (VALUES ('pg_stat_statements')) AS wanted (name)
LEFT JOIN pg_extension AS extension ON extension.extname = wanted.name
LEFT JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
