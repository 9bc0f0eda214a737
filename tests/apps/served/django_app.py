"""Django's ASGI handler: sync and async views, streams, uploads, sessions. One file, no database."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for this test",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    INSTALLED_APPS=["django.contrib.sessions"],
    USE_TZ=True,
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {name: {"level": "CRITICAL"} for name in ("django.request", "django.security")},
    },
)
django.setup()

gone = asyncio.Event()


def sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.method} {request.get_full_path()}")


async def async_view(request: HttpRequest) -> JsonResponse:
    await asyncio.sleep(0)
    return JsonResponse({"name": request.GET.get("name"), "host": request.get_host(), "secure": request.is_secure()})


def visits(request: HttpRequest) -> JsonResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    file = request.FILES["file"]
    assert isinstance(file, UploadedFile)
    content = file.read()
    return JsonResponse({"note": request.POST["note"], "sha256": hashlib.sha256(content).hexdigest()})


@csrf_exempt
async def body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


def guarded(request: HttpRequest) -> HttpResponse:
    return HttpResponse("never without a token")


async def stream(request: HttpRequest) -> HttpResponseBase:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d\n" % number
            await asyncio.sleep(0)

    return StreamingHttpResponse(lines())


async def endless(request: HttpRequest) -> HttpResponseBase:
    async def lines() -> AsyncIterator[bytes]:
        try:
            yield b"tick\n"
            # No second one: a generator whose bytes cannot be sent is closed by the collector, some day, not by Django.
            await asyncio.Event().wait()
        finally:
            gone.set()

    return StreamingHttpResponse(lines())


async def slow(request: HttpRequest) -> HttpResponse:
    print("the slow view has begun", flush=True)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        gone.set()
        raise
    return HttpResponse()


async def wait_until_gone(request: HttpRequest) -> HttpResponse:
    async with asyncio.timeout(10):
        await gone.wait()
    gone.clear()
    return HttpResponse("cancelled")


def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(Path(__file__).open("rb"))


def boom(request: HttpRequest) -> HttpResponse:
    raise LookupError("on purpose")


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
    path("visits", visits),
    path("upload", upload),
    path("body", body),
    path("guarded", guarded),
    path("stream", stream),
    path("endless", endless),
    path("slow", slow),
    path("wait-until-gone", wait_until_gone),
    path("file", file),
    path("boom", boom),
]
app = get_asgi_application()
