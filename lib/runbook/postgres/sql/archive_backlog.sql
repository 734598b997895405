-- How many WAL files wait for being archived, and since when does the oldest?
SELECT count(*)::int AS waiting,
       extract(epoch FROM clock_timestamp() - min(modification))::float8 AS oldest_seconds
FROM pg_ls_archive_statusdir()
WHERE name LIKE '%.ready'
