-- Which slot was dropped? (None where there is none of its name, it is in use, or it is no standby's.)
SELECT slot_name::text AS slot, pg_drop_replication_slot(slot_name)::text AS dropped
FROM pg_replication_slots
WHERE slot_name = %(slot)s AND slot_type = 'physical' AND NOT active
