-- Which tables could amcheck read row by row, the smallest first, and may this role call it?
WITH tool AS (
    SELECT schema.nspname::text AS tool_schema,
           has_schema_privilege(schema.oid, 'USAGE') AND coalesce(bool_or(
               has_function_privilege(function.oid, 'EXECUTE')), false) AS callable,
           count(function.oid) > 0 AS there
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    LEFT JOIN pg_proc AS function ON function.pronamespace = schema.oid AND function.proname = 'verify_heapam'
    WHERE extension.extname = 'amcheck'
    GROUP BY schema.oid, schema.nspname
)
SELECT current_user::text AS role,
       (SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck') > 0 AS available,
       tool.tool_schema, coalesce(tool.callable, false) AS callable, coalesce(tool.there, false) AS there,
       heap.oid::bigint AS table_oid,
       quote_ident(schema.nspname) || '.' || quote_ident(heap.relname) AS table_name,
       pg_relation_filepath(heap.oid)::text AS path,
       heap.pages AS blocks, heap.bytes,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation = heap.oid AND mode = 'AccessExclusiveLock'
                 AND database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))) AS locked
FROM (SELECT 1) AS once
LEFT JOIN tool ON true
LEFT JOIN LATERAL (SELECT oid, relname, relnamespace, pg_table_size(oid) AS bytes,
                          pg_relation_size(oid) / current_setting('block_size')::bigint AS pages
                   FROM pg_class
                   WHERE relkind IN ('r', 'm') AND relpersistence = 'p'
                   ORDER BY relnamespace = 'pg_catalog'::regnamespace, relpages, oid
                   LIMIT 20000) AS heap ON true
LEFT JOIN pg_namespace AS schema ON schema.oid = heap.relnamespace
ORDER BY heap.relnamespace = 'pg_catalog'::regnamespace, heap.bytes, heap.oid
