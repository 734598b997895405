-- When did each notebook last run on each of these targets, last come to a verdict, and last find everything well?
SELECT
  target,
  notebook,
  max(began) FILTER (run_status <> 'FAILED') AS succeeded,
  max(began) FILTER (run_status = 'OK') AS clean,
  arg_max(run_status, began) AS status
FROM found
WHERE list_contains($targets, target)
GROUP BY target, notebook
