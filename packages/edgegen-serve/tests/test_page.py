"""The chat page in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect, sync_playwright

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    """A page that fails the test where its script does, or where the policy had to stop something."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.requested = []
    page.on("request", lambda request: page.requested.append(request.url))
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def chat(live, tab):
    """The page of ``live``."""
    tab.goto(live.url)
    expect(tab.get_by_role("heading")).to_have_text("parrot-100k")
    return tab


def say(page, text):
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def answer(page):
    return page.locator("article.assistant > span").last


def test_a_question_is_answered_piece_by_piece(live, chat):
    live.say("the lazy dog sleeps")
    live.puppet.hold()
    say(chat, "where is it?")
    expect(chat.locator("article.user > span")).to_have_text("where is it?")
    expect(chat.get_by_label("Message")).to_have_value("")
    live.wait_for_load(1, 0)
    live.puppet.let(1)
    expect(answer(chat)).to_have_text("the")
    live.puppet.let()
    expect(answer(chat)).to_have_text("the lazy dog sleeps")
    expect(chat.get_by_role("status")).to_have_text("The answer is complete.")
    expect(chat.get_by_role("button", name="Send")).to_be_visible()


def test_the_next_question_sends_the_conversation(live, chat):
    live.say("quick")
    say(chat, "how is the fox?")
    expect(answer(chat)).to_have_text("quick")
    live.say("lazy")
    with chat.expect_request("**/v1/chat/completions") as sent:
        say(chat, "and the dog?")
    expect(answer(chat)).to_have_text("lazy")
    assert [(m["role"], m["content"]) for m in sent.value.post_data_json["messages"]] == [
        ("user", "how is the fox?"), ("assistant", "quick"), ("user", "and the dog?"),
    ]  # fmt: skip
    chat.get_by_role("button", name="New chat").click()
    expect(chat.locator("article")).to_have_count(0)


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_ends_the_answer_here_and_there(live, chat, how):
    live.say("the lazy dog " * 20)
    live.puppet.hold()
    say(chat, "tell")
    live.wait_for_load(1, 0)
    live.puppet.let(1)
    expect(answer(chat)).to_have_text("the")
    if how == "button":
        chat.get_by_role("button", name="Stop").click()
    else:
        chat.keyboard.press("Escape")
    expect(chat.get_by_role("status")).to_have_text("Stopped.")
    live.wait_until_stopped()
    live.puppet.let(1)  # the call of the model that is under way
    live.wait_for_load(0, 0)
    expect(answer(chat)).to_have_text("the")
    expect(chat.get_by_role("button", name="Send")).to_be_visible()


def test_html_in_an_answer_is_text(live, chat):
    attack = "<img src=x onerror=document.title=1><script>document.title=2</script><b>bold</b>"
    live.say(attack)
    say(chat, attack)
    expect(answer(chat)).to_have_text(attack)
    expect(chat.locator("article.user > span")).to_have_text(attack)
    assert chat.locator("article img, article script, article b").count() == 0
    assert chat.title() == "parrot-100k"


def test_errors_are_shown_and_the_question_is_kept(live, chat):
    say(chat, "refuse")
    expect(chat.get_by_role("alert")).to_contain_text("it refuses")
    expect(chat.get_by_label("Message")).to_have_value("refuse")
    chat.get_by_role("button", name="New chat").click()
    live.puppet.fault = RuntimeError("secret")
    say(chat, "hello")
    expect(chat.get_by_role("alert")).to_contain_text("the server failed")
    live.puppet.reset()
    live.say("fox")
    say(chat, "hello")
    expect(answer(chat)).to_have_text("fox")


def test_a_server_that_is_gone_is_told(serve, tab):
    live = serve()
    tab.goto(live.url)
    expect(tab.get_by_role("heading")).to_have_text("parrot-100k")
    live.stop()
    say(tab, "hello")
    expect(tab.get_by_role("alert")).to_be_visible()
    expect(tab.get_by_label("Message")).to_have_value("hello")


def test_a_key_is_asked_for_and_kept_for_the_tab_only(serve, tab):
    live = serve(api_key="abc")
    tab.goto(live.url)
    tab.get_by_label("API key").fill("wrong")
    tab.get_by_role("button", name="Use key").click()
    expect(tab.get_by_role("alert").last).to_contain_text("wrong API key")
    tab.get_by_label("API key").fill("abc")
    tab.get_by_role("button", name="Use key").click()
    expect(tab.get_by_role("heading")).to_have_text("parrot-100k")
    expect(tab.get_by_label("API key")).to_be_hidden()
    live.say("fox")
    say(tab, "hello")
    expect(answer(tab)).to_have_text("fox")
    assert tab.evaluate("localStorage.length") == 0
    assert all("abc" not in url for url in tab.requested)


def test_the_page_loads_nothing_from_elsewhere_and_runs_only_its_own_script(live, chat):
    assert all(url.startswith((live.url, "data:")) for url in chat.requested)
    policy = live.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
