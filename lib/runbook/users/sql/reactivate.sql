-- May this user, who was deactivated, enter again?
UPDATE users SET is_active = true
WHERE id::text = %(id)s AND username = %(username)s AND NOT is_active
RETURNING username::text AS reactivated
