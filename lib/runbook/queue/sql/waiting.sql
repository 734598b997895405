-- How many items wait, by status and priority, in a table too large to read? (By an index on the status.)
SELECT status::text AS status, priority_level::text AS priority, count(*)::float8 AS items, 0::float8 AS within
FROM triage_items
WHERE status IN ('pending', 'in_review')
GROUP BY status, priority_level
ORDER BY status, priority
