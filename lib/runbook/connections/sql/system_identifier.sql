-- Which cluster is this, told from every other and from its own restored copies?
SELECT system_identifier FROM pg_control_system()
