"""Django with sessions in its cache, which django-redis keeps in Redis."""
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

port, redis_url = sys.argv[1:3]

settings.configure(
    SECRET_KEY="not-used-here",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}},
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:memory?mode=memory&cache=shared"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

from django.contrib.auth import authenticate, get_user_model, login, logout  # noqa: E402


@csrf_exempt
def log_in(request):
    login(request, authenticate(request, username="alice", password="secret"))
    return HttpResponse("logged in")


def visit(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse("hello")


@csrf_exempt
def log_out(request):
    logout(request)
    return HttpResponse("logged out")


def private(request):
    return HttpResponse(str(request.headers.get("X-User-Id")))


urlpatterns = [
    path("login", log_in),
    path("visit", visit),
    path("logout", log_out),
    path("private", private),
]

if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("alice", password="secret")
    make_server("127.0.0.1", int(port), get_wsgi_application()).serve_forever()
