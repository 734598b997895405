-- About how many rows has each table of the source, as the statistics count them?
SELECT format('%I.%I', schemaname, relname) AS written, n_live_tup AS rows
FROM pg_stat_user_tables
ORDER BY written
