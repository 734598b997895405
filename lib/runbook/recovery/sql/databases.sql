-- Which databases are there, how large, and which of them did the runbook restore?
SELECT datname::text AS database, pg_database_size(oid) AS bytes, datallowconn AS open,
       coalesce(shobj_description(oid, 'pg_database'), '') AS told,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.pid <> pg_backend_pid()) AS sessions
FROM pg_database d
WHERE NOT datistemplate
ORDER BY oid
