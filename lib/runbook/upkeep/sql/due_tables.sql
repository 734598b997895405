-- Which tables have dead rows, or statistics, that autovacuum has not come to?
SELECT s.relid::bigint AS oid, s.schemaname::text AS schema, s.relname::text AS name,
       format('%I.%I', s.schemaname, s.relname) AS written,
       s.n_live_tup AS live, s.n_dead_tup AS dead, s.n_mod_since_analyze AS changed,
       coalesce(s.vacuum_count, 0) + coalesce(s.autovacuum_count, 0) AS vacuums,
       pg_total_relation_size(s.relid) AS bytes
FROM pg_stat_user_tables s
ORDER BY s.n_dead_tup DESC, written
