-- How many items has the queue of each status and priority?
-- (Of a large table so many percent of the pages are read; then the sum of the squares tells how far from the truth
-- that may be.)
SELECT status,
       priority,
       sum(items)::bigint AS seen,
       sum(items * items)::float8 AS squares
FROM (SELECT status::text AS status, priority_level::text AS priority, count(*) AS items
      FROM triage_items TABLESAMPLE SYSTEM (%(percent)s)
      -- The page that a row lies in is the first part of its place.
      GROUP BY status, priority_level, tableoid, (ctid::text::point)[0]) AS pages
GROUP BY status, priority
ORDER BY status, priority
