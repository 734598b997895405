-- Is there a slot of this name?
SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s) AS there
