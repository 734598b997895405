-- Which tablespaces has the cluster beside its own two?
SELECT spcname::text AS name
FROM pg_tablespace
WHERE spcname NOT IN ('pg_default', 'pg_global')
ORDER BY 1
