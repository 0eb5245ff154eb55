// While an import is not over, its page follows the server's events and shows the progress; at the end it shows all.
document.addEventListener("DOMContentLoaded", () => {
  const marker = document.querySelector(".signet-import[data-events]");
  const progress = document.querySelector(".signet-import-progress");
  if (!marker) return;
  followToTheEnd(marker.dataset.events, async (state) => {
    marker.textContent = state;
    const answer = await fetch(marker.dataset.detail);
    if (!answer.ok || !progress) return;
    const told = (await answer.json()).progress;
    if (!told.step) return;
    const bar = progress.querySelector("progress");
    if (told.total_bytes) bar.value = (told.step - 1 + told.bytes / told.total_bytes) / told.steps;
    bar.hidden = false;
    progress.querySelector("span").textContent = `${told.rows.toLocaleString("en")} ${progress.dataset.words}, ${told.step}/${told.steps}`;
  });
});
