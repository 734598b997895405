-- How many pages does a table take, all its partitions together? (No row: there is no such table.)
SELECT (sum(pg_relation_size(coalesce(part.relid, named.id))) / current_setting('block_size')::int)::bigint AS pages
FROM (SELECT to_regclass(%(table)s) AS id) AS named
LEFT JOIN pg_partition_tree(named.id) AS part ON part.isleaf
WHERE named.id IS NOT NULL
HAVING count(*) > 0
