-- Which row was written, to be read on the standby? (A large object: any role may make one, and needs no table for it.)
SELECT lo_from_bytea(0, convert_to(%(text)s::text, 'UTF8'))::bigint AS number WHERE %(text)s::text IS NOT NULL
