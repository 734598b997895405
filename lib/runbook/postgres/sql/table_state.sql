-- What is this table now, and may this session's role maintain it?
SELECT relation.oid::bigint AS oid, relation.relfilenode::bigint AS filenode, relation.relkind::text AS kind,
       schema.nspname::text AS schema, relation.relname::text AS name,
       quote_ident(schema.nspname) || '.' || quote_ident(relation.relname) AS table_name,
       current_user::text AS role, pg_get_userbyid(relation.relowner)::text AS owner,
       pg_has_role(relation.relowner, 'USAGE')
           OR (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database())
              AND NOT relation.relisshared
           -- From 17 on the right may be given: for one table, or by a role for all.
           OR EXISTS (SELECT FROM aclexplode(relation.relacl) AS given
                      WHERE given.privilege_type = 'MAINTAIN'
                        AND (given.grantee = 0 OR pg_has_role(given.grantee, 'USAGE')))
           OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_maintain' AND pg_has_role(oid, 'USAGE')) AS may_maintain,
       pg_stat_get_vacuum_count(relation.oid) AS vacuums, pg_stat_get_analyze_count(relation.oid) AS analyzes,
       pg_stat_get_dead_tuples(relation.oid) AS dead, pg_stat_get_live_tuples(relation.oid) AS live,
       greatest(pg_stat_get_last_vacuum_time(relation.oid),
                pg_stat_get_last_autovacuum_time(relation.oid)) AS last_vacuum,
       (relation.relpages + coalesce(toast.relpages, 0))::bigint * current_setting('block_size')::bigint AS bytes,
       (SELECT min(pid) FROM pg_locks
        WHERE pg_locks.relation = relation.oid AND pid <> pg_backend_pid()
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                       'AccessExclusiveLock')) AS locked_by
FROM pg_class AS relation
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
LEFT JOIN pg_class AS toast ON toast.oid = relation.reltoastrelid
WHERE relation.oid = to_regclass(%(table)s::text)
