-- Which databases did the runbook restore, and from which backup?
SELECT d.datname AS database, shobj_description(d.oid, 'pg_database') AS told
FROM pg_database d
WHERE shobj_description(d.oid, 'pg_database') LIKE 'restored by the runbook %'
ORDER BY d.oid DESC
