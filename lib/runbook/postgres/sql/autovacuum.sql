-- Which tables wait for vacuum or analyze, and is autovacuum free to come? (One row without a table: none waits.)
WITH server AS (
    SELECT current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS autovacuum,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker') AS workers,
           current_setting('autovacuum_max_workers')::int AS max_workers,
           (SELECT count(*) FROM pg_class
            WHERE relkind IN ('r', 'm')
              AND EXISTS (SELECT FROM pg_options_to_table(reloptions)
                          WHERE option_name = 'autovacuum_enabled' AND option_value::bool IS FALSE)) AS switched_off
), waiting AS (
    SELECT relation.oid, relation.relname, relation.relnamespace, relation.reloptions,
           pg_stat_get_dead_tuples(relation.oid) AS dead, pg_stat_get_live_tuples(relation.oid) AS live,
           pg_stat_get_mod_since_analyze(relation.oid) AS changed
    FROM pg_class AS relation
    WHERE relation.relkind IN ('r', 'm') AND relation.relpersistence <> 't'
    ORDER BY greatest(pg_stat_get_dead_tuples(relation.oid), pg_stat_get_mod_since_analyze(relation.oid)) DESC,
             relation.oid
    LIMIT 50
)
SELECT server.*,
       quote_ident(schema.nspname) || '.' || quote_ident(waiting.relname) AS table_name,
       waiting.dead, waiting.live, waiting.changed,
       EXISTS (SELECT FROM pg_options_to_table(waiting.reloptions)
               WHERE option_name = 'autovacuum_enabled' AND option_value::bool IS FALSE) AS off_here,
       greatest(pg_stat_get_last_vacuum_time(waiting.oid),
                pg_stat_get_last_autovacuum_time(waiting.oid)) AS last_vacuum,
       greatest(pg_stat_get_last_analyze_time(waiting.oid),
                pg_stat_get_last_autoanalyze_time(waiting.oid)) AS last_analyze,
       clock_timestamp() AS told_at,
       (SELECT progress.phase || coalesce(', ' || 100 * progress.heap_blks_scanned
                                          / nullif(progress.heap_blks_total, 0) || '% scanned', '')
        FROM pg_stat_progress_vacuum AS progress
        WHERE progress.relid = waiting.oid AND progress.datname = current_database() LIMIT 1) AS progress
FROM server
LEFT JOIN waiting ON waiting.dead > 0 OR waiting.changed > 0
LEFT JOIN pg_namespace AS schema ON schema.oid = waiting.relnamespace
ORDER BY waiting.dead DESC NULLS LAST, table_name
