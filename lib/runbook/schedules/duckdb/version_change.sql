-- When did the service of a target last begin to tell another version than before, which, and when did it last tell that?
WITH asked AS (
  SELECT DISTINCT began, run_id, service_version AS version
  FROM found
  WHERE target = $target AND service_version IS NOT NULL
),
steps AS (
  SELECT
    began AS seen,
    version,
    lag(version) OVER in_turn AS version_before,
    lag(began) OVER in_turn AS seen_before
  FROM asked
  WINDOW in_turn AS (ORDER BY began, run_id)
)
SELECT seen, version, version_before, seen_before
FROM steps
WHERE version <> version_before
ORDER BY seen DESC
LIMIT 1
