-- How many items came into the queue and left it, in each twelfth of the last hours?
-- (Of a large table so many percent of the pages are read.)
WITH items AS MATERIALIZED (
    SELECT status::text IN ('pending', 'in_review') AS waits,
           status::text IN ('completed', 'skipped') AND completed_at IS NULL AS left_untold,
           created_at > now() + interval '1 minute' OR completed_at > now() + interval '1 minute' AS ahead,
           completed_at < created_at AS backwards,
           CASE WHEN isfinite(created_at) THEN extract(epoch FROM now() - created_at) / 300 END AS came,
           CASE WHEN isfinite(completed_at) THEN extract(epoch FROM now() - completed_at) / 300 END AS went
    FROM triage_items TABLESAMPLE SYSTEM (%(percent)s)),
every AS (
    SELECT count(*) AS items,
           count(*) FILTER (WHERE waits) AS waiting,
           count(*) FILTER (WHERE left_untold) AS left_untold,
           count(*) FILTER (WHERE ahead) AS ahead,
           count(*) FILTER (WHERE backwards) AS backwards
    FROM items),
arrivals AS (
    SELECT floor(came / %(hours)s) AS twelfth, count(*) AS items
    FROM items WHERE came >= 0 AND came < 12 * %(hours)s GROUP BY 1),
departures AS (
    SELECT floor(went / %(hours)s) AS twelfth, count(*) AS items
    FROM items WHERE went >= 0 AND went < 12 * %(hours)s GROUP BY 1)
SELECT now() - (twelfth + 1) * %(hours)s * interval '5 minutes' AS begins,
       coalesce(arrivals.items, 0) AS arrived,
       coalesce(departures.items, 0) AS finished,
       every.*
FROM generate_series(0, 11) AS twelfth
LEFT JOIN arrivals USING (twelfth)
LEFT JOIN departures USING (twelfth)
CROSS JOIN every
ORDER BY begins
