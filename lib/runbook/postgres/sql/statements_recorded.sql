-- Does the server record statements (pg_stat_statements), and may this role see those of all others?
SELECT current_user::text AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
       -- Known to everybody, other than shared_preload_libraries: there is such a setting only once it is loaded.
       current_setting('pg_stat_statements.max', true)::int AS most,
       current_setting('pg_stat_statements.track', true) AS track,
       current_setting('compute_query_id') AS query_id,
       quote_ident(schema.nspname) AS schema,
       has_schema_privilege(schema.oid, 'USAGE') AS uses_schema,
       current_database()::text AS database,
       current_setting('block_size')::int AS block_size
FROM (VALUES ('pg_stat_statements')) AS wanted (name)
LEFT JOIN pg_extension AS extension ON extension.extname = wanted.name
LEFT JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
