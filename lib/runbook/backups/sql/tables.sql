-- Which tables are there, named as a dump names them?
SELECT n.nspname AS schema, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS written
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\_toast%'
  AND n.nspname NOT LIKE 'pg\_temp%'
ORDER BY written
