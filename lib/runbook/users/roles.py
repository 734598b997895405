"""The service's roles, and what each may do."""

ADMIN = "admin"
PERMISSIONS = {
    "admin": ("read:all", "write:all", "delete:all", "manage:users", "manage:system", "export:data", "view:analytics"),
    "annotator": ("read:all", "write:annotations"),
    "viewer": ("read:all",),
}
