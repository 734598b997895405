-- Which tables are the largest, with their indexes and TOAST? (One row without a table says that there is none.)
WITH whole AS MATERIALIZED (
    -- Once: it looks at every file.
    SELECT CASE WHEN has_database_privilege(current_database(), 'CONNECT')
                THEN pg_database_size(current_database()) END AS bytes
), closed AS MATERIALIZED (
    -- Whoever asks the size of one of these would queue behind its lock.
    SELECT DISTINCT relation FROM pg_locks
    WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL
      AND database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
), unreadable AS MATERIALIZED (
    SELECT relation AS oid FROM closed
    UNION SELECT indrelid FROM pg_index JOIN closed ON closed.relation = pg_index.indexrelid
    UNION SELECT oid FROM pg_class JOIN closed ON closed.relation = pg_class.reltoastrelid
), largest AS (
    SELECT relation.oid, relation.relname, relation.relnamespace, relation.relpages, relation.reltuples,
           relation.reltoastrelid, relation.relpages + coalesce(toast.relpages, 0) AS pages
    FROM pg_class AS relation
    LEFT JOIN pg_class AS toast ON toast.oid = relation.reltoastrelid
    JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
    WHERE relation.relkind IN ('r', 'm') AND relation.relpersistence <> 't'
      AND (schema.nspname NOT IN ('pg_catalog', 'information_schema') OR relation.relname = 'pg_largeobject')
    -- The catalog knows the pages as of the last vacuum or analyze; of what had none, the counted rows tell.
    ORDER BY greatest(relation.relpages + coalesce(toast.relpages, 0),
                      pg_stat_get_live_tuples(relation.oid) / 100) DESC, relation.oid
    LIMIT 20
)
SELECT current_database()::text AS database,
       whole.bytes AS database_bytes,
       quote_ident(schema.nspname) || '.' || quote_ident(largest.relname) AS table_name,
       unreadable.oid IS NOT NULL AS locked,
       CASE WHEN unreadable.oid IS NULL THEN pg_relation_size(largest.oid) END AS heap_bytes,
       CASE WHEN unreadable.oid IS NULL THEN pg_indexes_size(largest.oid) END AS index_bytes,
       CASE WHEN unreadable.oid IS NULL AND largest.reltoastrelid <> 0
            THEN pg_total_relation_size(largest.reltoastrelid) ELSE 0 END AS toast_bytes,
       CASE WHEN unreadable.oid IS NULL THEN pg_total_relation_size(largest.oid)
            ELSE largest.pages::bigint * current_setting('block_size')::bigint END AS total_bytes,
       greatest(largest.reltuples, pg_stat_get_live_tuples(largest.oid))::bigint AS live_rows
FROM whole
LEFT JOIN largest ON true
LEFT JOIN unreadable ON unreadable.oid = largest.oid
LEFT JOIN pg_namespace AS schema ON schema.oid = largest.relnamespace
ORDER BY total_bytes DESC NULLS LAST, table_name
