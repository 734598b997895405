-- Which foreign keys are said to hold, over which columns, and how large are their tables?
WITH key AS (
    SELECT * FROM pg_constraint
    -- A partition's key is a part of its parent's.
    WHERE contype = 'f' AND convalidated AND conparentid = 0
)
SELECT key.conname::text AS key_name,
       quote_ident(child_schema.nspname) || '.' || quote_ident(child.relname) AS table_name,
       quote_ident(parent_schema.nspname) || '.' || quote_ident(parent.relname) AS parent_name,
       child_schema.nspname::text AS child_schema, child.relname::text AS child,
       parent_schema.nspname::text AS parent_schema, parent.relname::text AS parent,
       child.relkind::text AS child_kind, parent.relkind::text AS parent_kind, key.confmatchtype::text AS match,
       columns.child_columns, columns.parent_columns, columns.operators, columns.operator_schemas,
       (child.relpages + parent.relpages
        + coalesce((WITH RECURSIVE below AS (
                        SELECT inhrelid FROM pg_inherits WHERE inhparent IN (child.oid, parent.oid)
                        UNION ALL
                        SELECT deeper.inhrelid
                        FROM pg_inherits AS deeper JOIN below ON deeper.inhparent = below.inhrelid)
                    SELECT sum(part.relpages) FROM below JOIN pg_class AS part ON part.oid = below.inhrelid), 0))::bigint
           * current_setting('block_size')::bigint AS bytes,
       columns.readable AND has_schema_privilege(child_schema.oid, 'USAGE')
           AND has_schema_privilege(parent_schema.oid, 'USAGE') AS readable,
       nullif(concat_ws(', ',
           CASE WHEN NOT has_schema_privilege(child_schema.oid, 'USAGE') THEN quote_ident(child_schema.nspname) END,
           CASE WHEN NOT has_schema_privilege(parent_schema.oid, 'USAGE') AND parent_schema.oid <> child_schema.oid
                THEN quote_ident(parent_schema.nspname) END), '') AS closed_schema,
       row_security_active(child.oid) OR row_security_active(parent.oid) AS filtered,
       -- A key over a period (18) compares by another rule than equality.
       coalesce((to_jsonb(key) ->> 'conperiod')::bool, false) AS over_period,
       coalesce((to_jsonb(key) ->> 'conenforced')::bool, true) AS enforced,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation IN (child.oid, parent.oid) AND mode = 'AccessExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
FROM key
JOIN pg_class AS child ON child.oid = key.conrelid
JOIN pg_namespace AS child_schema ON child_schema.oid = child.relnamespace
JOIN pg_class AS parent ON parent.oid = key.confrelid
JOIN pg_namespace AS parent_schema ON parent_schema.oid = parent.relnamespace
CROSS JOIN LATERAL (
    SELECT array_agg(one.attname::text ORDER BY pair.place) AS child_columns,
           array_agg(other.attname::text ORDER BY pair.place) AS parent_columns,
           array_agg(equal.oprname::text ORDER BY pair.place) AS operators,
           array_agg(equal_schema.nspname::text ORDER BY pair.place) AS operator_schemas,
           bool_and(has_column_privilege(key.conrelid, pair.attnum, 'SELECT')
                    AND has_column_privilege(key.confrelid, pair.refers_to, 'SELECT')) AS readable
    FROM unnest(key.conkey, key.confkey, key.conpfeqop) WITH ORDINALITY AS pair(attnum, refers_to, operator, place)
    JOIN pg_attribute AS one ON one.attrelid = key.conrelid AND one.attnum = pair.attnum
    JOIN pg_attribute AS other ON other.attrelid = key.confrelid AND other.attnum = pair.refers_to
    JOIN pg_operator AS equal ON equal.oid = pair.operator
    JOIN pg_namespace AS equal_schema ON equal_schema.oid = equal.oprnamespace) AS columns
ORDER BY bytes, table_name, key_name
LIMIT 20000
