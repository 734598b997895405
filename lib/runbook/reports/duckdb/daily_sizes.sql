-- How large was what the runs of a target measured, by day? (The largest of each day.)
SELECT make_timestamp(began * 1000000)::DATE AS day, "check", object, unit, max(value) AS value
FROM found
WHERE target = $target AND value IS NOT NULL AND list_contains($checks, "check")
GROUP BY ALL ORDER BY day
