// While an optimization is not over, its page follows the server's events: progress is written where it stands, and the
// end loads the page anew.
document.addEventListener("DOMContentLoaded", () => {
  const view = document.querySelector(".signet-progress[data-events]");
  if (!view || !view.dataset.events) return;
  const write = (name, value) => {
    const place = view.querySelector(`[data-${name}]`);
    if (place && value !== undefined) place.textContent = value === null ? "-" : value;
  };
  const show = (row) => {
    const progress = row.progress;
    write("state", row.state);
    write("phase", progress.phase);
    write("done", progress.done);
    write("total", progress.total);
    write("candidates", progress.candidates);
    write("best", typeof progress.best_score === "number" ? progress.best_score.toFixed(3) : undefined);
    write("cost", progress.cost_usd === undefined ? undefined : `$${progress.cost_usd}`);
    write("left", typeof progress.seconds_left === "number" ? Math.round(progress.seconds_left) : undefined);
    const bar = view.querySelector("[data-bar]");
    if (progress.total) bar.max = progress.total;
    bar.value = progress.done || 0;
  };
  followToTheEnd(view.dataset.events, async () => {
    const answer = await fetch(view.dataset.address, { credentials: "same-origin" });
    if (answer.ok) show(await answer.json());
  });
});
