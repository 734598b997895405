-- Is the row that was written for the standby gone again?
SELECT lo_unlink(oid) AS removed FROM pg_largeobject_metadata WHERE oid = %(number)s::bigint::oid
