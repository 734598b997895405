-- How large are these tables? (As of their last vacuum or analyze: none of them is opened.)
SELECT schema.nspname::text AS schema, relation.relname::text AS relation, relation.reltuples::float8 AS table_rows,
       relation.relpages * current_setting('block_size')::int8 AS table_bytes
FROM unnest(%(schemas)s::text[], %(relations)s::text[]) AS wanted (schema, relation)
JOIN pg_namespace AS schema ON schema.nspname = wanted.schema
JOIN pg_class AS relation ON relation.relnamespace = schema.oid AND relation.relname = wanted.relation
