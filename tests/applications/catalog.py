"""The applications whose test suites run on this engine, and how each suite is started."""

from dataclasses import dataclass
from enum import Enum


class Runner(Enum):
    """How the suite is started, as in the project's own instructions."""

    PYTEST = "pytest"
    DJANGO = "django test"


@dataclass(frozen=True)
class Suite:
    """
    One run of an application's tests.

    ``settings``: their settings module. Empty if their tests call ``settings.configure()``.
    ``tests``: the folders, files or modules with the tests. ``name``: empty if the application has
    only one suite. ``paths``: folders of the source that have to be on the Python path.
    ``options``: of the runner. ``environment``: further variables. ``explained``: tests that fail
    on this engine alone, each with the reason. docs/applications.md has the reasons, too.
    ``stores``: whether the tests store any session.
    """

    settings: str
    tests: tuple[str, ...] = ()
    name: str = ""
    runner: Runner = Runner.PYTEST
    paths: tuple[str, ...] = (".",)
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    explained: tuple[tuple[str, str], ...] = ()
    stores: bool = True


@dataclass(frozen=True)
class Application:
    """
    What is installed, and where its tests come from.

    ``version``: of the package, and of the source archive that has the tests. ``needs``: what the
    tests need besides. ``repository``: where the tests are if the source archive lacks them, with
    ``tag`` as that version's name there. ``is_built_there``: the package is built from that
    repository. Otherwise, the one in the package index is installed, and only the tests are from
    the repository.
    """

    package: str
    version: str
    suites: tuple[Suite, ...]
    extras: str = ""
    needs: tuple[str, ...] = ()
    repository: str = ""
    tag: str = ""
    is_built_there: bool = True
    django: str = "django>=5.2.14"


PYTEST = ("pytest>=8.2", "pytest-django>=4.11")

APPLICATIONS = (
    Application(
        "django-allauth",
        "65.22.1",
        extras="[headless,headless-spec,idp-oidc,mfa,openid,socialaccount,steam]",
        needs=(
            *("pytest>=8.3.5,<9", "pytest-django>=4.11,<4.13", "pytest-asyncio==1.3.0"),
            *("Pillow>=9", "psycopg2-binary>=2.9.10,<3", "pyyaml>=6.0.2,<7"),
            *("djangorestframework>=3.15.2,<4", "django-ninja>=1.3,<2", "pytest-xdist>=3.6"),
        ),
        suites=(
            Suite("tests.projects.regular.settings", ("tests/",), name="regular"),
            # In this project, their own instructions run only these tests.
            Suite(
                "tests.projects.headless_only.settings",
                ("tests/apps/headless",),
                name="headless only",
            ),
        ),
    ),
    Application(
        "djangorestframework",
        "3.18.3",
        needs=(
            *("pytest==9.*", "pytest-django>=4.5.2,<5", "dj-database-url>=3.1.0"),
            *("importlib-metadata<10.0", "requests", "uritemplate", "markdown>=3.3.7"),
            *("pygments==2.21.*", "pyyaml>=5.3.1,<6.1", "inflection==0.5.1", "django-filter"),
            *("django-guardian>=2.4.0,<3.6", "pytest-xdist>=3.6"),
        ),
        suites=(Suite("", ("tests",)),),
    ),
    Application(
        "django-formtools",
        "2.7",
        suites=(Suite("tests.settings", ("tests",), runner=Runner.DJANGO),),
    ),
    Application(
        "django-otp",
        "1.7.5",
        extras="[segno,qrcode]",
        needs=("freezegun~=1.5.1", "psycopg[binary]"),
        suites=(
            Suite(
                "test_project.settings",
                ("django_otp",),
                runner=Runner.DJANGO,
                paths=("test", "src"),  # the wheel has no tests
            ),
        ),
    ),
    Application(
        "django-axes",
        "8.3.1",
        needs=("pytest==9.0.2", "pytest-django==4.11.1", "pytest-cov==7.0.0", "django-ipware>=3"),
        suites=(Suite("tests.settings", ("tests",), options=("--no-cov",)),),
    ),
    Application(
        "social-auth-app-django",
        "8.0.0",
        suites=(Suite("tests.settings", (), runner=Runner.DJANGO),),
    ),
    Application(
        "django-debug-toolbar",
        "8.0.0",
        needs=(
            *("django-csp", "django-template-partials", "html5lib", "jinja2", "pygments"),
            *("selenium", "sqlparse", "whitenoise", "daphne"),
        ),
        suites=(
            Suite(
                "tests.settings",
                ("tests",),
                runner=Runner.DJANGO,
                stores=False,
                explained=(
                    (
                        "tests.panels.test_staticfiles.StaticFilesPanelTestCase.test_default_case",
                        "It lists the applications that have static files. This package has some.",
                    ),
                ),
            ),
        ),
    ),
    Application(
        "django-two-factor-auth",
        "1.18.1",
        extras="[call,sms,webauthn,yubikey,phonenumberslite]",
        needs=("freezegun",),
        repository="https://github.com/jazzband/django-two-factor-auth",
        tag="1.18.1",
        suites=(Suite("tests.settings", ("tests", "two_factor"), runner=Runner.DJANGO),),
    ),
    Application(
        "channels",
        "4.3.2",
        extras="[daphne,tests]",
        needs=PYTEST,
        repository="https://github.com/django/channels",
        tag="4.3.2",
        suites=(Suite("", ("tests",)),),
    ),
    Application(
        "django-hijack",
        "3.7.8",
        needs=(*PYTEST, "pytest-cov"),
        repository="https://github.com/django-hijack/django-hijack",
        tag="3.7.8",
        suites=(Suite("tests.test_app.settings", ("tests",), options=("--no-cov",)),),
    ),
    # The last version whose source archive has its tests.
    Application(
        "django-hijack",
        "3.5.4",
        needs=(*PYTEST, "pytest-cov"),
        suites=(Suite("hijack.tests.test_app.settings", ("hijack",), options=("--no-cov",)),),
    ),
    Application(
        "django-oscar",
        "4.2",
        extras="[sorl-thumbnail,easy-thumbnails]",
        needs=(
            *("pytest>=8.2", "pytest-django>=4.9.0,<5.0", "django-webtest>=1.9,<1.10"),
            *("WebTest>=3.0.0,<4.0.0", "Whoosh>=2.7,<2.8", "freezegun>=1.5.1,<2.0.0"),
            *("pycountry", "pytz", "whitenoise>=6.7.0,<6.12", "setuptools<81"),
        ),
        repository="https://github.com/django-oscar/django-oscar",
        tag="4.2",
        is_built_there=False,  # that takes npm
        suites=(
            Suite(
                "tests.settings",
                (
                    *("tests/functional", "tests/unit/basket", "tests/unit/checkout"),
                    *("tests/unit/customer", "tests/unit/dashboard", "tests/integration/basket"),
                    *("tests/integration/checkout", "tests/integration/customer"),
                    *("tests/integration/dashboard", "tests/integration/voucher"),
                    *("tests/integration/test_auth.py", "tests/integration/test_wishlist.py"),
                ),
                options=("--nomigrations", "--deprecation=none"),
                environment=(
                    ("DATABASE_ENGINE", "django.db.backends.sqlite3"),
                    ("DATABASE_NAME", ":memory:"),
                ),
            ),
        ),
    ),
    Application(
        "wagtail",
        "8.0.1",
        needs=("freezegun>=0.3.8", "Jinja2>=3.0,<3.2", "responses>=0.25,<1", "tblib>=3.0,<4.0"),
        suites=(
            Suite(
                "wagtail.test.settings",
                (
                    "wagtail.admin.tests.test_account_management",
                    "wagtail.admin.tests.test_password_reset",
                    "wagtail.admin.tests.test_privacy",
                    "wagtail.api.v3.tests.test_auth",
                    "wagtail.documents.tests.test_collection_privacy",
                    "wagtail.tests.test_page_privacy",
                ),
                name="signing in, passwords of pages",
                runner=Runner.DJANGO,
            ),
            Suite(
                "wagtail.test.settings",
                (
                    "wagtail.admin.tests.pages.test_create_page",
                    "wagtail.admin.tests.pages.test_edit_page.TestPublishUnpublishPublish",
                    "wagtail.admin.tests.pages.test_preview",
                    "wagtail.admin.tests.pages.test_revisions",
                    "wagtail.admin.tests.pages.test_unpublish_page",
                    "wagtail.admin.tests.pages.test_view_draft",
                ),
                name="drafts, previews, publishing",
                runner=Runner.DJANGO,
            ),
        ),
    ),
)
