"""What a visit costs: bytes over the wire, headers included, and that no request leaves this server."""

import pytest

pytest_plugins = ["tests.browser"]
KB = 1000


def weigh(page, url: str, sign: str) -> dict[str, int]:
    """The bytes that each request of a visit brought, by its URL; the visit is over when `sign` is there."""
    from playwright.sync_api import expect

    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    urls, sizes = {}, {}

    def asked(event) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def came(event) -> None:
        sizes[event["requestId"]] = event["encodedDataLength"]

    session.on("Network.requestWillBeSent", asked)
    session.on("Network.loadingFinished", came)
    page.goto(url)
    expect(page.locator(sign).first).to_be_visible()
    page.wait_for_load_state("networkidle")
    session.detach()
    # The page before may end a request of its own meanwhile: its beginning was not seen.
    return {f"{request} {urls[request]}": size for request, size in sizes.items() if request in urls}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "sign", "most"),
    [("/annotate/", ".pr-card", 600 * KB), ("/lab/", '.fact[data-fact="Worker"]', 600 * KB)],
)
def test_the_first_visit_is_light_and_the_next_much_lighter(site, visit, path, sign, most):
    site.add_task(["alpha", "bravo", "charlie", "delta"])
    page = visit("/docs", viewport={"width": 1280, "height": 900})  # a device of its own: it has nothing yet
    first = weigh(page, site.url + path, sign)
    page.goto("about:blank")
    second = weigh(page, site.url + path, sign)
    print(f"{path}: {sum(first.values()) / KB:.0f} kB, then {sum(second.values()) / KB:.0f} kB")
    assert any(size > 20 * KB for size in first.values()), "nothing was measured"
    heaviest = sorted(first.items(), key=lambda one: -one[1])[:10]
    assert sum(first.values()) <= most, heaviest
    assert sum(second.values()) < sum(first.values()) / 3
    for request in (*first, *second):
        assert request.split(" ", 1)[1].startswith((site.url, "data:", "blob:"))
