-- Which indexes could be dropped, since another one of their table does all that they do?
WITH alike AS (
    -- All that comes later is for the few that begin with the same column as another one of their table.
    SELECT indexrelid AS oid
    FROM (SELECT indexrelid, count(*) OVER (PARTITION BY indrelid, indkey[0]) AS count FROM pg_index WHERE indisvalid) AS one
    WHERE count > 1
), own AS (
    SELECT index.oid,
           indrelid,
           index.relname::text AS name,
           index.relpages,
           index.relam,
           indisunique OR indisexclusion OR indisreplident
               OR EXISTS (SELECT FROM pg_constraint WHERE conindid = index.oid) AS is_needed,
           -- Its own, not that of a foreign key which refers to its columns.
           (SELECT conname::text FROM pg_constraint
            WHERE conindid = index.oid AND contype IN ('p', 'u', 'x') LIMIT 1) AS of_constraint,
           index.relkind = 'I' AS is_partitioned,
           indisunique,
           indnkeyatts = indnatts AS keys_only,
           indnkeyatts,
           indnatts,
           indkey::text AS columns,
           indclass::text AS classes,
           indcollation::text AS collations,
           indoption::text AS options,
           -- As they are stored, but for where they stood in the text: to write them out would open the table.
           regexp_replace(coalesce(indexprs::text, ''), ':location -?\d+', '', 'g') AS expressions,
           regexp_replace(coalesce(indpred::text, ''), ':location -?\d+', '', 'g') AS predicate,
           index.relpersistence
    FROM alike
    JOIN pg_index ON indexrelid = alike.oid
    JOIN pg_class AS index ON index.oid = indexrelid
    JOIN pg_namespace AS schema ON schema.oid = index.relnamespace
    -- A part of a partitioned index is the duplicate of another one where the whole is.
    WHERE NOT index.relispartition
      AND schema.nspname !~ '^(pg_catalog|information_schema|pg_toast.*|pg_temp_.*)$'
), pairs AS (
    SELECT one.*,
           other.oid AS other_oid,
           other.name AS other,
           one.columns = other.columns AND one.indnkeyatts = other.indnkeyatts
               AND one.expressions = other.expressions AS is_same
    FROM own AS one
    JOIN own AS other
      ON other.indrelid = one.indrelid AND other.oid <> one.oid
     AND other.relam = one.relam AND other.predicate = one.predicate
    WHERE (
        -- The same; of two that are equally needed, the younger one.
        one.columns = other.columns AND one.indnkeyatts = other.indnkeyatts AND one.expressions = other.expressions
        AND one.classes = other.classes AND one.collations = other.collations AND one.options = other.options
        AND NOT (one.indisunique AND NOT other.indisunique)
        AND (one.is_needed::int, -(one.oid::int8)) < (other.is_needed::int, -(other.oid::int8))
    ) OR (
        -- The first columns of a longer one, which only a B-tree can be asked for.
        NOT one.is_needed AND one.keys_only AND one.expressions = ''
        AND one.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
        AND other.indnkeyatts > one.indnkeyatts
        AND starts_with(other.columns, one.columns || ' ') AND starts_with(other.classes, one.classes || ' ')
        AND starts_with(other.collations, one.collations || ' ') AND starts_with(other.options, one.options || ' ')
    )
)
SELECT DISTINCT ON (pairs.oid)
       schema.nspname::text AS schema,
       relation.relname::text AS "table",
       pairs.name AS index,
       pairs.other,
       pairs.is_same,
       pairs.is_needed,
       pairs.of_constraint,
       pairs.is_partitioned,
       pairs.relpages * current_setting('block_size')::int8 AS bytes
FROM pairs
JOIN pg_class AS relation ON relation.oid = pairs.indrelid
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
ORDER BY pairs.oid, pairs.is_same DESC, pairs.other_oid
