from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the permissions and the content type of the section in the admin. It makes no table."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.CharField(
                        max_length=32, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("user_pk", models.TextField(null=True, verbose_name="user")),
                ("ip", models.GenericIPAddressField(null=True, verbose_name="IP address")),
                ("user_agent", models.TextField(null=True, verbose_name="user agent")),
                ("created", models.DateTimeField(verbose_name="created")),
                ("updated", models.DateTimeField(verbose_name="last saved")),
                ("expires", models.DateTimeField(verbose_name="expires")),
            ],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "permissions": (
                    ("view_session", "Can view who is signed in"),
                    ("delete_session", "Can end sessions"),
                    ("view_session_entries", "Can view session entries"),
                ),
                "managed": False,
                "default_permissions": (),
                "base_manager_name": "objects",
            },
        ),
    ]
