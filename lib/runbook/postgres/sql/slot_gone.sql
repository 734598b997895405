-- Is there no slot of this name any more?
SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s) AS gone
