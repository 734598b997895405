-- What did the runs of a target measure, by day? (The median of each day's runs.)
SELECT make_timestamp(began * 1000000)::DATE AS day, "check", object, unit, median(value) AS value, count(*) AS runs
FROM found
WHERE target = $target AND value IS NOT NULL AND list_contains($checks, "check")
GROUP BY ALL ORDER BY "check", object, day
LIMIT 20000
