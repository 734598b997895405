-- When did the service of each of these targets last begin to tell another version than before, and which?
WITH asked AS (
  SELECT DISTINCT target, began, run_id, service_version AS version
  FROM found
  WHERE list_contains($targets, target) AND service_version IS NOT NULL
),
steps AS (
  SELECT
    target,
    began AS seen,
    version,
    lag(version) OVER in_turn AS version_before,
    lag(began) OVER in_turn AS seen_before
  FROM asked
  WINDOW in_turn AS (PARTITION BY target ORDER BY began, run_id)
)
SELECT target, seen, version, version_before, seen_before
FROM steps
WHERE version <> version_before
QUALIFY row_number() OVER (PARTITION BY target ORDER BY seen DESC) = 1
