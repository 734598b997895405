-- Which B-tree indexes could amcheck look at, the smallest first, and may this role call it?
WITH tool AS (
    SELECT schema.nspname::text AS tool_schema,
           has_schema_privilege(schema.oid, 'USAGE') AND coalesce(bool_or(
               has_function_privilege(function.oid, 'EXECUTE')), false) AS callable
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    LEFT JOIN pg_proc AS function ON function.pronamespace = schema.oid AND function.proname = 'bt_index_check'
                                 AND function.pronargs = 2
    WHERE extension.extname = 'amcheck'
    GROUP BY schema.oid, schema.nspname
), candidate AS (
    SELECT index.oid, index.relname, index.relnamespace, index.relpages, heap.oid AS heap, heap.relname AS heap_name,
           heap.relpages AS heap_pages
    FROM pg_index AS entry
    JOIN pg_class AS index ON index.oid = entry.indexrelid
    JOIN pg_class AS heap ON heap.oid = entry.indrelid
    JOIN pg_am AS method ON method.oid = index.relam AND method.amname = 'btree'
    WHERE index.relkind = 'i' AND entry.indisvalid AND entry.indisready AND index.relpersistence = 'p'
)
SELECT current_user::text AS role,
       (SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck') > 0 AS available,
       tool.tool_schema, coalesce(tool.callable, false) AS callable,
       candidate.oid::bigint AS index_oid,
       quote_ident(schema.nspname) || '.' || quote_ident(candidate.relname) AS index_name,
       quote_ident(schema.nspname) || '.' || quote_ident(candidate.heap_name) AS table_name,
       pg_relation_filepath(candidate.heap)::text AS table_path,
       (candidate.relpages + candidate.heap_pages)::bigint * current_setting('block_size')::bigint AS bytes,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation IN (candidate.oid, candidate.heap) AND mode = 'AccessExclusiveLock'
                 AND database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))) AS locked
FROM (SELECT 1) AS once
LEFT JOIN tool ON true
LEFT JOIN LATERAL (SELECT * FROM candidate
                   ORDER BY relnamespace = 'pg_catalog'::regnamespace, relpages + heap_pages, oid
                   LIMIT 20000) AS candidate ON true
LEFT JOIN pg_namespace AS schema ON schema.oid = candidate.relnamespace
ORDER BY candidate.relnamespace = 'pg_catalog'::regnamespace, bytes, candidate.oid
