-- Which rules of a table does not every row of it keep, since nobody proved them (NOT VALID)?
SELECT conname::text AS name, pg_get_constraintdef(oid) AS rule
FROM pg_constraint
WHERE conrelid = %(table)s::regclass AND contype = 'c' AND NOT convalidated AND coninhcount = 0
ORDER BY 1
