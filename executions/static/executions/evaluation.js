// While an evaluation is not over, its page follows the server's events: how far it is, and the result when it is there.
document.addEventListener("DOMContentLoaded", () => {
  const page = document.querySelector(".signet-evaluation[data-events]");
  if (!page) return;
  let isAsking = false;
  const show = async () => {
    if (isAsking) return;
    isAsking = true;
    const answer = await fetch(page.dataset.row, { headers: { Accept: "application/json" } });
    isAsking = false;
    if (!answer.ok) return;
    const row = await answer.json();
    page.querySelector("[data-progress]").textContent = page.dataset.scored.replace("{done}", row.done).replace("{size}", row.size);
    const bar = page.querySelector("[data-bar]");
    if (bar) bar.style.width = `${(100 * row.done) / Math.max(row.size, 1)}%`;
  };
  followToTheEnd(page.dataset.events, (state) => {
    page.querySelector("[data-state]").textContent = state;
    show();
  });
});
