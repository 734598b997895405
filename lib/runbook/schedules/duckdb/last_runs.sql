-- When did each notebook last run on a target, last come to a verdict, and last find everything well?
SELECT
  notebook,
  max(began) FILTER (run_status <> 'FAILED') AS succeeded,
  max(began) FILTER (run_status = 'OK') AS clean,
  arg_max(run_status, began) AS status
FROM found
WHERE target = $target
GROUP BY notebook
