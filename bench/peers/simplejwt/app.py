"""djangorestframework-simplejwt with rotation and blacklist, in a project as `django-admin startproject` makes it.

usage: gunicorn app:application
       python app.py COUNT      migrate, then print refresh tokens of as many new users, a line each

SIMPLEJWT_DATABASE names the PostgreSQL. With SIMPLEJWT_LEAN all that can go is gone: middleware, authentication,
the browsable API, and database connections are kept. HS256, the default, is cheaper than a signature by key pair.
"""

import os
import sys
from urllib.parse import urlsplit

import django
from django.conf import settings

URL = urlsplit(os.environ["SIMPLEJWT_DATABASE"])

LEAN = "SIMPLEJWT_LEAN" in os.environ
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
LEAN_REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
}

settings.configure(
    MIDDLEWARE=[] if LEAN else MIDDLEWARE,
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="a secret key of a bench, long enough for HS256",
    ROOT_URLCONF="app",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": URL.path[1:],
            "USER": URL.username,
            "PASSWORD": URL.password,
            "HOST": URL.hostname,
            "PORT": URL.port,
            "CONN_MAX_AGE": None if LEAN else 0,
        }
    },
    REST_FRAMEWORK=LEAN_REST_FRAMEWORK
    if LEAN
    else {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"]},
    SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True},
)
django.setup()

from django.core.management import call_command  # noqa: E402 - needs the settings
from django.core.wsgi import get_wsgi_application  # noqa: E402 - needs the settings
from django.urls import path  # noqa: E402 - needs the settings
from rest_framework_simplejwt.views import TokenRefreshView  # noqa: E402 - needs the settings

urlpatterns = [path("token/refresh", TokenRefreshView.as_view())]
application = get_wsgi_application()


def main(count: int) -> None:
    from django.contrib.auth.models import User
    from rest_framework_simplejwt.tokens import RefreshToken

    call_command("migrate", verbosity=0)
    first = User.objects.count()
    made = [User(username=f"user-{first + number}") for number in range(count)]
    for user in User.objects.bulk_create(made):
        print(RefreshToken.for_user(user))


if __name__ == "__main__":
    sys.modules["app"] = sys.modules["__main__"]
    main(int(sys.argv[1]))
