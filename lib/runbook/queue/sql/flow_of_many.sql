-- How many items came and left in each twelfth of the last hours, of a table too large to read? (By its indexes.)
WITH arrivals AS (
    SELECT floor(extract(epoch FROM now() - created_at) / 300 / %(hours)s) AS twelfth, count(*) AS items
    FROM triage_items
    WHERE status IN ('pending', 'in_review', 'completed', 'skipped')
      AND created_at > now() - %(hours)s * interval '1 hour' AND created_at <= now()
    GROUP BY 1),
departures AS (
    SELECT floor(extract(epoch FROM now() - completed_at) / 300 / %(hours)s) AS twelfth, count(*) AS items
    FROM triage_items
    WHERE completed_at > now() - %(hours)s * interval '1 hour' AND completed_at <= now()
    GROUP BY 1)
SELECT coalesce(arrivals.items, 0) AS arrived, coalesce(departures.items, 0) AS finished
FROM generate_series(0, 11) AS twelfth
LEFT JOIN arrivals USING (twelfth)
LEFT JOIN departures USING (twelfth)
ORDER BY twelfth DESC
