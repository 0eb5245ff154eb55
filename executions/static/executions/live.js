// While an execution is not over, its page follows the server's events and shows the end when it comes.
document.addEventListener("DOMContentLoaded", () => {
  const marker = document.querySelector("[data-events]");
  if (!marker || !marker.dataset.events) return;
  const source = new EventSource(marker.dataset.events);
  source.addEventListener("state", (event) => {
    const { state } = JSON.parse(event.data);
    marker.textContent = state;
    if (state !== "pending" && state !== "running") {
      source.close();
      window.location.reload();
    }
  });
});
