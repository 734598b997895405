-- How many keys of each kind are there, and how many of them hold for what was there before?
SELECT CASE contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'f' THEN 'FOREIGN KEY' ELSE 'UNIQUE' END AS kind,
       count(*) AS made,
       count(*) FILTER (WHERE convalidated) AS valid
FROM pg_constraint
WHERE contype IN ('p', 'f', 'u')
  -- Of a partition's own keys a dump makes the primary and unique ones, and not the foreign ones.
  AND (conparentid = 0 OR contype <> 'f')
  AND connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
GROUP BY 1
