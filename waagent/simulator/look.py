"""How the web page looks, and how it follows what happens: its style sheet and its script.

The script fetches the same address with `?part=1` every two seconds and puts the answer into the page. It waits
while the page is hidden or text on it is selected, and says in #live since when nobody answers.
"""
from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --text: #1c2024; --soft: #60646c; --line: #e3e5e9;
  --good: #18794e; --bad: #c62a2f; --wait: #9a5b00; --link: #0b68cb; }
@media (prefers-color-scheme: dark) { :root { --page: #111315; --card: #1a1d20; --text: #edeef0; --soft: #a0a6ae;
  --line: #2e3338; --good: #4cc38a; --bad: #ff7b80; --wait: #f1a10d; --link: #70b8ff; } }
* { box-sizing: border-box; }
body { background: var(--page); color: var(--text); font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif;
  margin: 0; }
header, main { margin: 0 auto; max-width: 76rem; padding: 0 1.25rem; }
header { align-items: baseline; display: flex; gap: .75rem; padding-top: 1rem; }
h1 { font-size: 1.25rem; margin: 0; } h1 a { color: inherit; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
#live { color: var(--good); font-size: .85rem; } #live::before { content: "\\25CF\\00A0"; }
.gone #live { color: var(--bad); } .gone main { opacity: .55; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0;
  overflow-x: auto; padding: .75rem 1rem; }
h2 { font-size: 1rem; margin: 0 0 .4rem; }
h2 small { color: var(--soft); font-weight: 400; }
table { border-collapse: collapse; width: 100%; }
th { color: var(--soft); font-size: .8rem; font-weight: 500; }
td, th { border-bottom: 1px solid var(--line); padding: .32rem .8rem .32rem 0; text-align: left;
  vertical-align: baseline; }
tr:last-child td { border-bottom: 0; } td:last-child, th:last-child { padding-right: 0; }
th.n, td.n { text-align: right; } td.n, td.t { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.t, .none, td.soft { color: var(--soft); } td.note { min-width: 9rem; }
code { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
td.wide { max-width: 0; min-width: 16rem; width: 100%; }
td.wide code { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.state { border-radius: 99px; background: color-mix(in srgb, currentColor 11%, transparent); font-size: .85em;
  font-weight: 600; padding: .08rem .55rem; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
ul { list-style: none; margin: 0; padding: 0; } td ul li + li { margin-top: .2rem; } td ul ul { margin-top: .3rem; }
dl { display: grid; gap: .3rem 1.2rem; grid-template-columns: max-content 1fr; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (min-width: 60rem) { dl { grid-template-columns: max-content 1fr max-content 1fr; } }
p { margin: 0; }
"""
SCRIPT = """
const main = document.querySelector("main"), live = document.querySelector("#live");
let gone = "";
async function refresh() {
  try {
    const answer = await fetch(location.pathname + "?part=1");
    if (!answer.ok) throw new Error(answer.status);
    main.innerHTML = await answer.text();
    gone = "";
  } catch (error) { gone = gone || new Date().toTimeString().slice(0, 8); }
  live.textContent = gone ? "no answer since " + gone : "live";
  document.body.classList.toggle("gone", gone !== "");
}
setInterval(() => { if (!document.hidden && !getSelection().toString()) refresh(); }, 2000);
"""
