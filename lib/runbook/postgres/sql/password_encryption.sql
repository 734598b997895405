-- How does the server keep the passwords that are set from now on?
SELECT current_setting('password_encryption') AS password_encryption
