-- Which column does each sequence feed, and how far can both count?
WITH feeds AS (
    -- serial and identity columns own their sequence; any other column uses one by its default.
    SELECT objid AS sequence, refobjid AS relation, refobjsubid AS attnum
    FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
      AND deptype IN ('a', 'i') AND refobjsubid > 0
    UNION
    SELECT used.refobjid, def.adrelid, def.adnum
    FROM pg_depend AS used JOIN pg_attrdef AS def ON def.oid = used.objid
    WHERE used.classid = 'pg_attrdef'::regclass AND used.refclassid = 'pg_class'::regclass
)
SELECT schema.nspname::text AS schema, relation.relname::text AS sequence,
       format('%I.%I', schema.nspname, relation.relname) AS sequence_name,
       format('%I.%I.%I', holder.nspname, fed.relname, attribute.attname) AS column_name,
       format_type(attribute.atttypid, NULL) AS column_type,
       -- The key may fit where the columns that refer to it do not.
       (SELECT format('%I.%I.%I', other_schema.nspname, other.relname, referring.attname)
        FROM pg_constraint AS key
        CROSS JOIN LATERAL unnest(key.conkey, key.confkey) AS pair(attnum, refers_to)
        JOIN pg_attribute AS referring ON referring.attrelid = key.conrelid AND referring.attnum = pair.attnum
        JOIN pg_class AS other ON other.oid = key.conrelid
        JOIN pg_namespace AS other_schema ON other_schema.oid = other.relnamespace
        WHERE key.contype = 'f' AND key.confrelid = fed.oid AND pair.refers_to = attribute.attnum
          AND referring.atttypid IN ('int2'::regtype, 'int4'::regtype)
          AND attribute.atttypid <> 'int2'::regtype AND referring.atttypid <> attribute.atttypid
        ORDER BY referring.atttypid = 'int2'::regtype DESC, other.relname, referring.attname LIMIT 1) AS narrower,
       (SELECT min(CASE referring.atttypid WHEN 'int2'::regtype THEN 32767 ELSE 2147483647 END)
        FROM pg_constraint AS key
        CROSS JOIN LATERAL unnest(key.conkey, key.confkey) AS pair(attnum, refers_to)
        JOIN pg_attribute AS referring ON referring.attrelid = key.conrelid AND referring.attnum = pair.attnum
        WHERE key.contype = 'f' AND key.confrelid = fed.oid AND pair.refers_to = attribute.attnum
          AND referring.atttypid IN ('int2'::regtype, 'int4'::regtype)) AS narrower_max,
       CASE attribute.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                               WHEN 'int8'::regtype THEN 9223372036854775807 END AS column_max,
       counter.seqmin, counter.seqmax, counter.seqincrement AS increment, counter.seqcycle AS cycles,
       has_schema_privilege(schema.oid, 'USAGE') AND has_sequence_privilege(relation.oid, 'SELECT') AS readable,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation = counter.seqrelid AND mode = 'AccessExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
FROM pg_sequence AS counter
JOIN pg_class AS relation ON relation.oid = counter.seqrelid AND relation.relpersistence <> 't'
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
LEFT JOIN feeds ON feeds.sequence = counter.seqrelid
LEFT JOIN pg_class AS fed ON fed.oid = feeds.relation
LEFT JOIN pg_namespace AS holder ON holder.oid = fed.relnamespace
LEFT JOIN pg_attribute AS attribute ON attribute.attrelid = feeds.relation AND attribute.attnum = feeds.attnum
-- Those that can fill their column come first.
ORDER BY attribute.atttypid = 'int8'::regtype NULLS LAST, coalesce(fed.relpages, 0) DESC, sequence_name, column_name
LIMIT 5000
