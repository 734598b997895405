-- What is this index now, what was left beside it by a rebuild that failed, and may this session's role rebuild it?
SELECT index.oid::bigint AS oid, index.relfilenode::bigint AS filenode, index.relkind::text AS kind,
       schema.nspname::text AS schema, index.relname::text AS name,
       quote_ident(schema.nspname) || '.' || quote_ident(index.relname) AS index_name,
       heap.oid::bigint AS table_oid,
       quote_ident(heap_schema.nspname) || '.' || quote_ident(heap.relname) AS table_name,
       current_user::text AS role, pg_get_userbyid(heap.relowner)::text AS owner,
       pg_has_role(heap.relowner, 'USAGE')
           -- From 17 on the right may be given: for one table, or by a role for all.
           OR EXISTS (SELECT FROM aclexplode(heap.relacl) AS given
                      WHERE given.privilege_type = 'MAINTAIN'
                        AND (given.grantee = 0 OR pg_has_role(given.grantee, 'USAGE')))
           OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_maintain' AND pg_has_role(oid, 'USAGE')) AS may_maintain,
       entry.indisvalid AS valid, entry.indisexclusion AS excludes,
       schema.nspname IN ('pg_catalog', 'pg_toast') AS of_catalog,
       greatest(index.relpages, heap.relpages * (index.relpages = 0)::int)::bigint
           * current_setting('block_size')::bigint AS bytes,
       ARRAY(SELECT quote_ident(schema.nspname) || '.' || quote_ident(other.relname)
             FROM pg_index AS left_over JOIN pg_class AS other ON other.oid = left_over.indexrelid
             WHERE left_over.indrelid = heap.oid AND NOT left_over.indisvalid
               AND other.relname ~ '_cc(new|old)[0-9]*$'
               AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS build
                               WHERE build.index_relid = left_over.indexrelid)
             ORDER BY other.relname) AS leftovers,
       ARRAY(SELECT 'pid ' || session.pid || ' (' || coalesce(nullif(session.application_name, ''), session.usename)
                    || ', ' || session.state || ')'
             FROM pg_stat_activity AS session
             WHERE session.pid <> pg_backend_pid() AND session.datname = current_database()
               AND session.xact_start < clock_timestamp() - interval '5 seconds'
               -- A vacuum of another table is not waited for.
               AND (session.backend_xid IS NOT NULL
                    OR session.backend_xmin IS NOT NULL
                       AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS other WHERE other.pid = session.pid)
                    OR EXISTS (SELECT FROM pg_locks
                               WHERE pg_locks.pid = session.pid AND pg_locks.relation IN (heap.oid, index.oid)))
             ORDER BY session.xact_start LIMIT 5) AS waits_for,
       coalesce(nullif(pg_tablespace_location(coalesce(nullif(index.reltablespace, 0), (
                    SELECT dattablespace FROM pg_database WHERE datname = current_database()))), ''),
                (SELECT setting FROM pg_settings WHERE name = 'data_directory')) AS place
FROM pg_class AS index
JOIN pg_index AS entry ON entry.indexrelid = index.oid
JOIN pg_class AS heap ON heap.oid = entry.indrelid
JOIN pg_namespace AS schema ON schema.oid = index.relnamespace
JOIN pg_namespace AS heap_schema ON heap_schema.oid = heap.relnamespace
WHERE index.oid = to_regclass(%(index)s::text)
