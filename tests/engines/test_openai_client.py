import json
import socket
import time
from contextlib import closing
from email.utils import formatdate

import pytest

from chat_server import chat_server, requests_to
from emo.engines.openai_client import ChatRequest, OpenAIClient, ServerSettings
from emo.errors import EmoError, InputError, RowError


@pytest.fixture(scope="module")
def server():
    with chat_server() as url:
        yield url


def client(url, **settings):
    defaults = {
        "attempts": 3,
        "backoff_s": 0.02,
        "max_backoff_s": 0.1,
        "timeout_s": 10,
        "connect_timeout_s": 2,
    }
    return OpenAIClient(ServerSettings(url=url, model="tiny", **{**defaults, **settings}))


def ask(text, *seeds):
    return ChatRequest([{"role": "user", "content": text}], seeds or (1,))


def told(name, **script):
    return ask(json.dumps({"name": name, **script}))


def many(url, requests, **settings):
    with closing(client(url, **settings)) as open_client:
        return open_client.chat(requests)


def one(url, request, **settings):
    return many(url, [request], **settings)[0]


def times_asked(url, name):
    return [r for r in requests_to(url)["requests"] if f'"{name}"' in r["text"]]


def test_answers_come_in_the_order_of_the_requests_with_their_token_counts(server):
    texts = [f"clip {i}" for i in range(40)]
    answers = many(server, [ask(text, i) for i, text in enumerate(texts)])
    assert [a[0].text for a in answers] == [f"text={text!r} seed={i}" for i, text in enumerate(texts)]
    assert answers[0][0].finish_reason == "stop"
    assert (answers[0][0].prompt_tokens, answers[0][0].output_tokens) == (100, 7)


def test_samples_are_asked_for_one_by_one_with_their_seeds(server):
    answers = one(server, ask("three of them", 5, 6, 9))
    assert [a.text for a in answers] == [f"text='three of them' seed={s}" for s in (5, 6, 9)]


def test_samples_can_be_asked_for_in_one_request(server):
    answers = one(server, ask("all at once", 5, 6, 9), samples_by="n")
    assert [a.text for a in answers] == [f"text='all at once' seed={s}" for s in (5, 6, 7)]
    asked = [r for r in requests_to(server)["requests"] if r["text"] == "all at once"]
    assert [(r["seed"], r["n"]) for r in asked] == [(5, 3)]
    assert answers[0].output_tokens is None


def test_a_failing_row_leaves_its_neighbours_alone(server):
    rows = many(server, [ask("before"), told("bad", always={"status": 400}), ask("after")])
    assert [a[0].text for a in (rows[0], rows[2])] == ["text='before' seed=1", "text='after' seed=1"]
    assert isinstance(rows[1], RowError)


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_what_may_pass_is_tried_again(server, status):
    answers = one(server, told(f"passing {status}", tries=[{"status": status}] * 2))
    assert answers[0].text.endswith("seed=1")
    assert len(times_asked(server, f"passing {status}")) == 3


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refusal_of_the_server_is_not_tried_again(server, status):
    error = one(server, told(f"refused {status}", always={"status": status}))
    assert isinstance(error, RowError)
    assert error.code == "refused_by_server"
    assert f"HTTP {status}" in error.message
    assert f"told to say {status}" in error.message
    assert len(times_asked(server, f"refused {status}")) == 1


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"status": 429}, "rate_limited"),
        ({"status": 500}, "server_error"),
        ({"cut": True}, "unreachable"),
        ({"sleep": 1.0}, "timeout"),
        ({"status": 200, "body": "<html>a proxy's page</html>"}, "bad_answer"),
        ({"status": 200, "body": {"choices": []}}, "bad_answer"),
        ({"status": 200, "body": {"choices": [{"message": None}]}}, "bad_answer"),
    ],
)
def test_what_does_not_pass_is_a_code_after_the_last_try(server, step, code):
    name = f"lasting {code} {json.dumps(step)[:40]}".replace('"', "'")
    error = one(server, told(name, always=step), timeout_s=0.3)
    assert isinstance(error, RowError)
    assert error.code == code
    assert "after 3 tries" in error.message
    assert len(times_asked(server, name)) == 3


def test_a_cut_connection_and_a_slow_answer_are_survived(server):
    answers = one(server, told("survived", tries=[{"cut": True}, {"sleep": 1.0}]), timeout_s=0.3)
    assert answers[0].text.endswith("seed=1")


def test_retry_after_in_seconds_is_waited_for(server):
    one(server, told("seconds", tries=[{"status": 429, "retry_after": "0.7"}]))
    first, second = times_asked(server, "seconds")
    assert second["at"] - first["at"] >= 0.7


def test_retry_after_as_a_date_is_waited_for(server):
    wait_until = formatdate(time.time() + 2, usegmt=True)
    one(server, told("date", tries=[{"status": 503, "retry_after": wait_until}]))
    first, second = times_asked(server, "date")
    assert second["at"] - first["at"] >= 0.9  # HTTP dates have whole seconds


def test_retry_after_holds_back_the_other_requests_too(server):
    rows = [told("limited", tries=[{"status": 429, "retry_after": "0.8"}])]
    rows += [told(f"bystander {i}") for i in range(3)]
    many(server, rows, concurrency=1)
    limited = times_asked(server, "limited")[0]["at"]
    assert times_asked(server, "bystander 0")[0]["at"] - limited >= 0.8


def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(server):
    begun = time.monotonic()
    error = one(
        server, told("hour", always={"status": 429, "retry_after": "3600"}), max_retry_after_s=5, attempts=9
    )
    assert error.code == "rate_limited"
    assert "3600" in error.message
    assert time.monotonic() - begun < 3


def test_no_more_requests_are_under_way_than_allowed():
    with chat_server() as url:
        begun = time.monotonic()
        many(url, [told(f"slow {i}", tries=[{"sleep": 0.2}]) for i in range(12)], concurrency=4)
        assert requests_to(url)["most_at_once"] == 4
        assert time.monotonic() - begun < 12 * 0.2


def test_a_refusal_of_the_model_and_an_empty_answer_are_failed_rows(server):
    declined = told("declined", answer={"role": "assistant", "content": None, "refusal": "I cannot help."})
    assert one(server, declined).code == "refused"
    assert one(server, told("empty", answer="  \n")).code == "empty_answer"


def test_too_few_choices_are_not_taken_for_all_samples(server):
    body = {"choices": [{"message": {"content": "only one"}}]}
    request = told("few", always={"status": 200, "body": body})
    error = one(server, ChatRequest(request.messages, (1, 2)), samples_by="n", attempts=1)
    assert error.code == "bad_answer"
    assert "samples_by: requests" in error.message


def test_the_key_comes_from_the_environment_and_is_sent(monkeypatch):
    monkeypatch.setenv("TEST_CHAT_KEY", "secret-123")
    with chat_server(key="secret-123") as url:
        assert one(url, ask("hello"), api_key_env="TEST_CHAT_KEY")[0].text == "text='hello' seed=1"


def test_a_key_that_is_not_accepted_is_said_before_any_row(monkeypatch):
    monkeypatch.setenv("TEST_CHAT_KEY", "wrong-456")
    with chat_server(key="secret-123") as url:
        with pytest.raises(InputError, match="TEST_CHAT_KEY: HTTP 401") as caught:
            client(url, api_key_env="TEST_CHAT_KEY")
        assert "wrong-456" not in str(caught.value)
        with pytest.raises(InputError, match="set api_key_env"):
            client(url)


def test_the_key_is_never_part_of_an_error(server, monkeypatch):
    monkeypatch.setenv("TEST_CHAT_KEY", "secret-123")
    complaint = {"error": {"message": "Incorrect API key provided: YOUR_KEY"}}
    error = one(server, told("leak", always={"status": 400, "body": complaint}), api_key_env="TEST_CHAT_KEY")
    assert "Incorrect API key provided" in error.message
    assert "secret-123" not in error.message


def test_a_key_that_is_not_set_is_named():
    settings = ServerSettings(url="http://127.0.0.1:9/v1", model="tiny", api_key_env="NOT_SET_ANYWHERE")
    assert "NOT_SET_ANYWHERE" in settings.missing()[0]
    with pytest.raises(InputError, match="NOT_SET_ANYWHERE"):
        OpenAIClient(settings)


@pytest.mark.parametrize(
    "url", ["host:8000/v1", "ftp://host/v1", "http://user:password@host/v1", "http:///v1"]
)
def test_a_url_that_is_none_or_that_holds_credentials_is_refused(url):
    with pytest.raises(ValueError, match=r"http\(s\) URL|no credentials"):
        ServerSettings(url=url, model="tiny")


def test_no_server_at_all_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match="no server answers at"):
        client(url)


def test_a_server_that_dies_stops_the_pass_instead_of_failing_every_row():
    with chat_server() as url:
        survivor = client(url)
        assert survivor.chat([ask("still there")])[0][0].text.startswith("text=")
    with pytest.raises(EmoError, match="no server answers at"):
        survivor.chat([ask("gone"), ask("gone too")])
