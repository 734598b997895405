-- Which findings of a target were bad, in how many of the runs that asked, and for how long without a good one since?
WITH judged AS (
  SELECT *, make_timestamp(began * 1000000) AS moment,
         status IN ('CRITICAL', 'UNKNOWN', 'WARNING') AND NOT acknowledged AS bad
  FROM found WHERE target = $target AND "check" IS NOT NULL
), good AS (
  SELECT "check", object, max(moment) AS last_good FROM judged WHERE NOT bad GROUP BY ALL
)
SELECT "check", object, count(*) FILTER (bad) AS bad_runs, count(*) AS runs,
       count(DISTINCT moment::DATE) FILTER (bad) AS bad_days,
       count(DISTINCT moment::DATE) FILTER (bad AND (last_good IS NULL OR moment > last_good)) AS days_since_good,
       min(moment) FILTER (bad) AS first, max(moment) FILTER (bad) AS last,
       arg_max(bad, began) AS bad_now, arg_max(status, began) AS status_now
FROM judged LEFT JOIN good USING ("check", object)
GROUP BY ALL
HAVING count(*) FILTER (bad) > 0
ORDER BY bad_days DESC, bad_runs DESC, "check", object
LIMIT 200
