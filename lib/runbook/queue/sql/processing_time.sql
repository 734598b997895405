-- How long has the work on an annotation taken, in the last 24 hours and in each of the seven days before?
SELECT floor(extract(epoch FROM now() - timestamp) / 86400)::int AS days_ago,
       count(*) AS annotations,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY processing_time) AS median_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY processing_time) AS p95_seconds,
       max(timestamp) AT TIME ZONE 'UTC' AS newest
FROM annotation_events
WHERE timestamp > now() - interval '8 days' AND timestamp <= now()
  AND processing_time >= 0 AND processing_time < 'Infinity'::real
GROUP BY 1
ORDER BY 1
