"""The sign-in page: a choice among the demo's people.

It is plain HTML without scripts.
"""

from collections.abc import Iterable, Mapping
from html import escape

from deploy.local.people import DemoPerson

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 36rem; margin: 3rem auto; padding: 0 1rem }
ul { list-style: none; padding: 0 }
button { display: block; width: 100%; padding: .75rem 1rem; margin: .5rem 0; text-align: left; font: inherit;
  border: 1px solid GrayText; border-radius: 6px; background: Canvas; color: CanvasText; cursor: pointer }
button:focus-visible { outline: 3px solid Highlight; outline-offset: 2px }
button span { display: block; opacity: .8; font-size: .9rem }
"""


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def sign_in_page(people: Iterable[DemoPerson], asked: Mapping[str, str]) -> str:
    """The page with one button per person; its form repeats the client's request."""
    hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in asked.items())
    buttons = "".join(
        f'<li><button name="who" value="{escape(one.who)}">{escape(one.name)}'
        f"<span>{escape(one.email)}: {escape(one.does)}</span></button></li>"
        for one in people
    )
    note = "<p>These people are invented and need no password. Choose one of them.</p>"
    return _page(
        "Sign in to the demo", f'{note}<form method="post" action="/authorize">{hidden}<ul>{buttons}</ul></form>'
    )


def message_page(title: str, sentence: str) -> str:
    """A page with one sentence."""
    return _page(title, f"<p>{escape(sentence)}</p>")
