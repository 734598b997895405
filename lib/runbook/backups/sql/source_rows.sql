-- About how many rows has each table of the source, as the statistics count them?
SELECT format('%I.%I', s.schemaname, s.relname) AS written, s.n_live_tup AS rows
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid AND c.relkind = 'r'
ORDER BY written
