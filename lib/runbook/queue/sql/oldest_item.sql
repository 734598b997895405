-- How many items of the triage queue still wait, and since when does the oldest?
SELECT status::text AS status,
       count(*) AS items,
       min(created_at) AS oldest,
       extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS seconds
FROM triage_items
WHERE status::text IN ('pending', 'in_review')
GROUP BY status
ORDER BY status DESC
