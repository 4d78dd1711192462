"""What the browser tests of the annotate page do on it, in the words of a person."""

FOUR = ["alpha text", "bravo text", "charlie text", "delta text"]


def annotate(visit, **options):
    """Open the page and wait until it shows a task."""
    from playwright.sync_api import expect

    page = visit("/annotate/", **options)
    expect(page.locator(".pr-card").first).to_be_visible()
    return page


def shown(page) -> list[str]:
    """The responses on the screen, A first."""
    return [text.strip() for text in page.locator(".pr-text").all_inner_texts()]


def badges(page) -> list[str]:
    return page.locator(".pr-medal").all_inner_texts()


def press(page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def saved(page) -> None:
    """Wait until the page has heard that the ranking is stored."""
    from playwright.sync_api import expect

    expect(page.locator(".pr-live")).to_contain_text("Saved")


def until(page, done) -> None:
    """Wait for what no page shows: `done()` turns true."""
    for _ in range(400):
        if done():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not happen within 20 s")


def drag(page, source, target) -> None:
    """Drag with the mouse from the middle of one element to the middle of another."""
    a, b = source.bounding_box(), target.bounding_box()
    page.mouse.move(a["x"] + a["width"] / 2, a["y"] + a["height"] / 2)
    page.mouse.down()
    page.mouse.move(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2, steps=5)
    page.mouse.up()


def place(page, rank: int):
    return page.locator(f'.pr-slot[data-rank="{rank}"]')


def lose_reply(page, path: str) -> None:
    """The next request to this path arrives, and its reply does not."""

    def lose(route):
        route.fetch()
        route.abort()

    page.route(path, lose, times=1)
