-- What could the role of this session do beyond reading statistics?
WITH own AS (
    SELECT oid, rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
    FROM pg_roles WHERE rolname = current_user
)
SELECT own.rolname::text AS role,
       own.rolsuper AS is_superuser,
       pg_has_role(current_user, 'pg_monitor', 'USAGE') AS sees_all,
       (SELECT count(*) FROM pg_class AS relation
        JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
        WHERE relation.relkind IN ('r', 'p')
          AND schema.nspname NOT LIKE 'pg\_%' AND schema.nspname <> 'information_schema'
          AND (has_table_privilege(relation.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
               OR pg_has_role(relation.relowner, 'USAGE'))) AS writes_tables,
       array_to_string(array_remove(ARRAY[
           CASE WHEN own.rolcreaterole THEN 'CREATEROLE' END,
           CASE WHEN own.rolcreatedb THEN 'CREATEDB' END,
           CASE WHEN own.rolreplication THEN 'REPLICATION' END,
           CASE WHEN own.rolbypassrls THEN 'BYPASSRLS' END] || ARRAY(
           -- Roles that it may act as, but for those that read statistics only.
           SELECT 'member of ' || rolname::text FROM pg_roles
           WHERE oid <> own.oid AND pg_has_role(own.oid, oid, 'MEMBER')
             AND rolname NOT IN ('pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables',
                                 'pg_read_all_data', 'pg_use_reserved_connections')
           ORDER BY rolname), NULL), ', ') AS powers
FROM own
