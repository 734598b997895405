-- In which form is the password of each role kept, as a view tells it that shows the form and nothing else?
SELECT role::text AS role, can_log_in, kind::text AS kind FROM role_password_kinds ORDER BY role
