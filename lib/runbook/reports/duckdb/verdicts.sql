-- How did the runs of a target end, by day and notebook?
SELECT DISTINCT ON (run_id) make_timestamp(began * 1000000)::DATE AS day, notebook, run_status AS status
FROM found WHERE target = $target
