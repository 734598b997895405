-- May this user enter no more? Not where it is the last administrator who may, or was deactivated meanwhile.
UPDATE users SET is_active = false
WHERE id::text = %(id)s AND username = %(username)s AND is_active
  AND (role <> 'admin'
       OR EXISTS (SELECT FROM users AS other WHERE other.role = 'admin' AND other.is_active AND other.id <> users.id))
RETURNING username::text AS deactivated
