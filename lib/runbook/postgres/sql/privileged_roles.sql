-- Which roles of the database server can do more than use what they were given?
SELECT rolname::text AS role, rolcanlogin AS can_log_in,
       array_to_string(array_remove(ARRAY[
           CASE WHEN rolsuper THEN 'SUPERUSER' END,
           CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
           CASE WHEN rolreplication THEN 'REPLICATION' END,
           CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
           CASE WHEN pg_has_role(oid, 'pg_execute_server_program', 'MEMBER') AND NOT rolsuper
                THEN 'runs programs on the server' END,
           CASE WHEN pg_has_role(oid, 'pg_write_server_files', 'MEMBER') AND NOT rolsuper
                THEN 'writes files on the server' END], NULL), ', ') AS powers,
       oid = 10 AS made_at_initdb
FROM pg_roles
WHERE rolname NOT LIKE 'pg\_%'
  AND (rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls
       OR pg_has_role(oid, 'pg_execute_server_program', 'MEMBER') OR pg_has_role(oid, 'pg_write_server_files', 'MEMBER'))
ORDER BY rolname
